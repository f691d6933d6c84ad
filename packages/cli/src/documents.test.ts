import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readDocuments, withAbsoluteSources } from "./documents.ts";
import { Refusal } from "./exit.ts";
import { parseDocuments } from "./yaml-documents.ts";

function problems(text: string): readonly string[] {
  const parsed = parseDocuments(text);
  return parsed.ok ? [] : parsed.problems;
}

describe("parseDocuments", () => {
  it("reads YAML and JSON, several documents, numbers as numbers", () => {
    const text = 'a: {learningRate: 2.0e-4}\n---\n{"b": [1, true, null]}\n---\n';
    expect(parseDocuments(text)).toEqual({
      ok: true,
      documents: [{ a: { learningRate: 2e-4 } }, { b: [1, true, null] }],
    });
  });

  it("keeps words of YAML 1.1 as words", () => {
    expect(parseDocuments("a: no\nb: 012\nc: 2020-01-01")).toEqual({
      ok: true,
      documents: [{ a: "no", b: 12, c: "2020-01-01" }],
    });
  });

  it.each([
    ["duplicate keys", "a: 1\nb: 2\na: 3\n", /line 3: .*unique/],
    ["merge keys", "x: &x {a: 1}\ny:\n  <<: *x\n", /line 3: merge keys/],
    ["custom tags", "a: 1\nb: !run ls\n", /line 2: .*!run/],
    ["binary tags", "a: !!binary aGk=\n", /line 1: .*binary/],
    ["keys of JavaScript", "a:\n  __proto__: {x: 1}\n", /line 2: the key __proto__/],
    ["broken indentation", "a:\n  b: 1\n c: 2\n", /line 3/],
    ["maps as keys", "? {a: 1}\n: 2\n", /key/],
    [
      "numbers that JSON cannot carry",
      "a: 1\nb:\n  c: [1, .nan]\n",
      /line 3: b\.c\[1\] must be finite, got \.nan/,
    ],
    ["an unclosed bracket", '{"a": [1, 2\n', /line \d/],
  ])("refuses %s and says where", (_what, text, expected) => {
    expect(problems(text).join("\n")).toMatch(expected);
  });

  it("refuses an alias bomb without expanding it", () => {
    const bomb = ["a: &a [x, x, x, x, x, x, x, x, x]"];
    for (let i = 0; i < 8; i++) {
      const from = String.fromCharCode(97 + i);
      const to = String.fromCharCode(98 + i);
      bomb.push(`${to}: &${to} [${Array(9).fill(`*${from}`).join(", ")}]`);
    }
    expect(problems(bomb.join("\n")).join("\n")).toMatch(/alias/i);
  });

  it("refuses more documents than a file may have", () => {
    expect(problems("a: 1\n---\n".repeat(11)).join("")).toMatch(/11 documents/);
    expect(problems("a: 1\n---\n".repeat(10))).toEqual([]);
  });

  it("says all problems at once", () => {
    expect(problems("a: 1\na: 2\nb: !x 1\n__proto__: 1\n").length).toBeGreaterThanOrEqual(3);
  });
});

it("makes relative file sources absolute and leaves everything else", () => {
  const value = {
    spec: {
      model: { source: "file://./model" },
      data: { train: { source: "file://../rows.jsonl" }, mix: [{ source: "file:///abs/x" }] },
      note: "see file://./x",
    },
  };
  expect(withAbsoluteSources(value, "/jobs/tone")).toEqual({
    spec: {
      model: { source: "file:///jobs/tone/model" },
      data: { train: { source: "file:///jobs/rows.jsonl" }, mix: [{ source: "file:///abs/x" }] },
      note: "see file://./x",
    },
  });
});

describe("readDocuments", () => {
  const folder = mkdtempSync(join(tmpdir(), "shardctl-documents-"));
  writeFileSync(join(folder, "b.yaml"), "name: b\n---\nname: c\nsource: file://./rows\n");
  writeFileSync(join(folder, "a.json"), '{"name": "a"}');
  writeFileSync(join(folder, "notes.txt"), "not a job");
  const io = { cwd: folder, readStdin: async () => "name: piped\nsource: file://./rows" };

  it("reads a directory in the order of names, documents counted", async () => {
    const documents = await readDocuments(["."], io);
    expect(documents.map(({ origin }) => origin)).toEqual(["a.json", "b.yaml#1", "b.yaml#2"]);
    expect(documents[2]?.value).toEqual({ name: "c", source: `file://${folder}/rows` });
  });

  it("reads standard input relative to the working directory", async () => {
    const [document] = await readDocuments(["-"], io);
    expect(document).toEqual({
      origin: "standard input",
      value: { name: "piped", source: `file://${folder}/rows` },
    });
  });

  it.each([
    ["https://example.com/job.yaml", /URL is not fetched/],
    ["missing.yaml", /cannot read missing.yaml/],
  ])("refuses %s", async (name, expected) => {
    const refused = readDocuments([name], io);
    await expect(refused).rejects.toThrow(expected);
    await expect(refused).rejects.toBeInstanceOf(Refusal);
  });
});
