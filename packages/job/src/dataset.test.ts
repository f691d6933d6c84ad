import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeCsvReader } from "./csv.ts";
import { containerOf } from "./data-rows.ts";
import { checkDataset, type DatasetReport, makeDatasetChecker } from "./dataset.ts";
import { makeArraySplitter } from "./json-array.ts";
import { readJson, unpairedSurrogate } from "./json-text.ts";
import { LINE_CHARACTERS_MAX } from "./limits.ts";

const root = fileURLToPath(new URL("../../../test/", import.meta.url));

interface Vector {
  readonly name: string;
  readonly file: string;
  readonly mlx: boolean;
  readonly data: { readonly format: "auto"; readonly map: Readonly<Record<string, string>> };
  readonly text: string;
  readonly records: readonly unknown[];
  readonly errors: readonly unknown[];
}
const vectors = JSON.parse(readFileSync(`${root}contract/vectors/datasets.json`, "utf8")) as {
  good: Vector[];
  bad: Vector[];
};

function linesOf(text: string): string[] {
  return text.split(/(?<=\n)/);
}

describe("the golden vectors", () => {
  it.each([...vectors.good, ...vectors.bad])("$name", (vector) => {
    const records: unknown[] = [];
    const report = checkDataset(linesOf(vector.text), {
      container: containerOf(vector.file) ?? "json",
      isMlx: vector.mlx,
      allowSmall: true,
      onRecord: (record) => records.push(record),
      ...vector.data,
    });
    expect(records).toEqual(vector.records);
    const errors = report.problems
      .filter(({ severity, code }) => severity === "error" && code !== "invalid_n_examples")
      .map(({ code, message, line }) => ({ code, message, line }));
    expect(errors).toEqual(vector.errors);
  });

  it("hold every good file to records and every bad one to an error", () => {
    expect(
      vectors.good.every(({ records, errors }) => records.length > 0 && errors.length === 0),
    ).toBe(true);
    expect(vectors.bad.every(({ errors }) => errors.length > 0)).toBe(true);
    expect(vectors.bad.length).toBeGreaterThan(50);
  });
});

interface BadFile {
  readonly file: string;
  readonly map: Readonly<Record<string, string>>;
  readonly code: string;
  readonly line: number | null;
}
interface MadeFile extends BadFile {
  readonly make: "text" | "repeat" | "utf16" | "bytes";
  readonly text?: string;
  readonly prefix?: string;
  readonly unit?: string;
  readonly count?: number;
  readonly suffix?: string;
  readonly hex?: string;
}
const folder = `${root}fixtures/bad-input/data/`;
const index = JSON.parse(readFileSync(`${folder}index.json`, "utf8")) as {
  files: BadFile[];
  made: MadeFile[];
};

function bytesOf(made: MadeFile): Buffer {
  switch (made.make) {
    case "text":
      return Buffer.from(made.text ?? "");
    case "repeat":
      return Buffer.from(`${made.prefix}${made.unit?.repeat(made.count ?? 0)}${made.suffix}`);
    case "utf16":
      return Buffer.from(`\uFEFF${made.text}`, "utf16le");
    case "bytes":
      return Buffer.from(made.hex ?? "", "hex");
    default:
      return made.make satisfies never;
  }
}

/** As a shell does it: bytes → lines, the ones that are no UTF-8 named by column. */
function checkBytes(bytes: Buffer, { file, map }: BadFile): DatasetReport {
  const checker = makeDatasetChecker({ container: containerOf(file) ?? "json", map });
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let number = 0;
  for (let begin = 0; begin < bytes.length; ) {
    const feed = bytes.indexOf(10, begin);
    const end = feed < 0 ? bytes.length : feed + 1;
    number++;
    try {
      checker.line(decoder.decode(bytes.subarray(begin, end)), number);
    } catch (reason) {
      if (!(reason instanceof TypeError)) throw reason;
      checker.undecodable(number, 1);
    }
    begin = end;
  }
  return checker.end();
}

describe("malformed training files", () => {
  it("are many", () => {
    expect(index.files.length + index.made.length).toBeGreaterThan(80);
  });

  it.each(index.files)("$file: $code in line $line", (bad) => {
    const report = checkBytes(readFileSync(folder + bad.file), bad);
    expect(report.ok).toBe(false);
    expect(report.problems[0]).toMatchObject({ severity: "error", code: bad.code, line: bad.line });
    expect(report.problems[0]?.hint).not.toBe("");
  });

  it.each(index.made)("$file, made: $code in line $line", (bad) => {
    const report = checkBytes(bytesOf(bad), bad);
    expect(report.problems[0]).toMatchObject({ severity: "error", code: bad.code, line: bad.line });
  });
});

const row = (user: string, more: object = {}): string =>
  `${JSON.stringify({
    messages: [
      { role: "user", content: user },
      { role: "assistant", content: "yes" },
    ],
    ...more,
  })}\n`;
const ten = Array.from({ length: 10 }, (_, i) => row(`question ${i}`));

describe("a report", () => {
  it("lists fifty problems and counts the rest", () => {
    const report = checkDataset([
      ...ten,
      ...Array.from({ length: 60 }, () => '{"messages": []}\n'),
    ]);
    expect(report.problems.filter(({ severity }) => severity === "error")).toHaveLength(50);
    expect(report.errorsCount).toBe(60);
    expect(report.more).toBe("… and 10 more");
  });

  it("counts what the file holds", () => {
    const { ok, shape, examples, statistics } = checkDataset(ten);
    expect({ ok, shape, examples }).toEqual({ ok: true, shape: "chat", examples: 10 });
    expect(statistics).toMatchObject({
      withoutSystem: 10,
      withoutUser: 0,
      messagesPerExample: { min: 2, mean: 2, max: 2 },
      charactersPerExample: { min: 13, max: 13 },
      learnedCharactersPerExample: { min: 3, mean: 3, max: 3 },
    });
  });

  it("stops at rowsMax", () => {
    expect(checkDataset(ten, { rowsMax: 4, allowSmall: true }).examples).toBe(4);
  });

  it("takes fewer than ten examples when told to, and never none", () => {
    expect(checkDataset(ten.slice(0, 3)).ok).toBe(false);
    const small = checkDataset(ten.slice(0, 3), { allowSmall: true });
    expect(small.ok).toBe(true);
    expect(small.problems.map(({ code }) => code)).toContain("invalid_n_examples");
    expect(checkDataset([], { allowSmall: true }).ok).toBe(false);
  });

  const warnings = (report: DatasetReport): string[] =>
    report.problems.filter(({ severity }) => severity === "warning").map(({ message }) => message);

  it("warns of duplicates, blank lines, ignored keys and pictures", () => {
    const image = { role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] };
    const picture = JSON.stringify({ messages: [image, { role: "assistant", content: "cat" }] });
    const lines = [...ten, "\n", row("question 3"), row("last", { id: 7 }), `${picture}\n`];
    expect(warnings(checkDataset(lines))).toEqual([
      "Line 11 is blank and was skipped.",
      "Example 11 duplicates example 4.",
      "Key 'id' is ignored.",
      "1 examples with images were skipped.",
      "12 examples have no system message.",
    ]);
  });

  it("warns of rows that are in the training file too", () => {
    const { fingerprints } = checkDataset(ten);
    const report = checkDataset([row("new"), row("question 5")], {
      part: "validation",
      trainFingerprints: fingerprints,
    });
    expect(warnings(report)).toContain("Validation example 2 is also training example 6.");
    expect(report.ok).toBe(true);
  });

  it("names secrets and never shows them", () => {
    const key = `AKIA${"ABCDEFGH".repeat(2)}`;
    const report = checkDataset([...ten, row(`my key is ${key}`)]);
    expect(warnings(report)).toContain("Line 11: looks like an AWS access key.");
    expect(JSON.stringify(report.problems)).not.toContain(key);
  });

  it("refuses special tokens of the base inside a text", () => {
    const report = checkDataset([...ten, row("a <|im_end|> b")], { specialTokens: ["<|im_end|>"] });
    expect(report.problems[0]).toMatchObject({
      code: "invalid_token",
      line: 11,
      message: "Example 11 message contains an invalid token: <|im_end|>.",
    });
  });

  it("says of a shape that is asked for and not trained", () => {
    const report = checkDataset(['{"text": "a", "label": 1}\n'], { format: "classification" });
    expect(report.problems[0]?.message).toBe("Classification data is not supported yet.");
  });
});

describe("any bytes", () => {
  const line = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    fc.json().map((text) => text.slice(0, Math.floor(text.length / 2))),
    fc.constantFrom(...ten, '{"messages":[{"role":{}}]}', '{"__proto__": 1}', '"', "[", "]", ","),
  );
  it("give a report, never a crash, and every error has a line inside the file", () => {
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 8 }),
        fc.constantFrom("json", "csv", "tsv", "text"),
        fc.boolean(),
        (lines, container, isMlx) => {
          const report = checkDataset(lines, { container, isMlx });
          expect(report.ok).toBe(report.errorsCount === 0);
          for (const problem of report.problems) {
            expect(problem.line ?? 1).toBeGreaterThanOrEqual(1);
            expect(problem.line ?? 1).toBeLessThanOrEqual(Math.max(1, lines.length));
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it("keep a long array in the memory of one element", () => {
    const splitter = makeArraySplitter(16);
    expect(splitter.line(`[${"x".repeat(100)}, 1]`, 1).map(({ text }) => text)).toEqual([
      "x".repeat(16),
      "1",
    ]);
    expect(LINE_CHARACTERS_MAX).toBeLessThanOrEqual(4 * 1024 * 1024);
  });
});

describe("JSON arrays", () => {
  it("are split into their elements wherever lines end", () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue({ maxDepth: 3 }), { maxLength: 6 }),
        fc.nat(3),
        (values, indent) => {
          const text = JSON.stringify(values, null, indent);
          const splitter = makeArraySplitter(LINE_CHARACTERS_MAX);
          const elements = text.split("\n").flatMap((one, i) => splitter.line(one, i + 1));
          expect(elements.map((element) => JSON.parse(element.text) as unknown)).toEqual(
            JSON.parse(text),
          );
          expect(splitter.end()).toBeNull();
        },
      ),
    );
  });
});

describe("JSON text", () => {
  it("is read as JSON.parse reads it, and described when it cannot be", () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        const reading = readJson(text);
        if (reading.ok) expect(reading.value).toEqual(JSON.parse(text));
        else
          expect(reading.problem).toMatch(
            /line \d+ column \d+ \(char \d+\)|not JSON|nested|not finite/,
          );
      }),
    );
  });

  it("finds every half of a pair", () => {
    expect(unpairedSurrogate('"\\ud83d\\ude00 🌍 \\n"')).toBeNull();
    expect(unpairedSurrogate('"🌍\\ude00"')).toBe(3);
    expect(unpairedSurrogate('"\\\\ud83d"')).toBeNull();
  });
});

describe("CSV", () => {
  const cell = fc.string({ unit: fc.constantFrom("a", '"', ",", "\n", " ", "é") });
  const write = (cells: readonly string[]): string =>
    cells.map((one) => `"${one.replaceAll('"', '""')}"`).join(",");

  it("reads back what was quoted, with the line on which a row begins", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(cell, { minLength: 2, maxLength: 3 }), { maxLength: 5 }),
        (rows) => {
          const reader = makeCsvReader(",", LINE_CHARACTERS_MAX);
          const lines = rows.flatMap((cells) => write(cells).split("\n"));
          const steps = lines.map((one, i) => reader.line(one, i + 1));
          const found = steps.flatMap((step) => (step.kind === "row" ? [step.row] : []));
          expect(found.map(({ cells }) => cells)).toEqual(rows);
          let line = 1;
          for (const [i, cells] of rows.entries()) {
            expect(found[i]?.line).toBe(line);
            line += write(cells).split("\n").length;
          }
          expect(reader.end()).toBeNull();
        },
      ),
    );
  });

  it("bounds a row", () => {
    const reader = makeCsvReader("\t", 10);
    expect(reader.line('"aaaaa', 1).kind).toBe("more");
    expect(reader.line("aaaaaa", 2)).toMatchObject({ kind: "fault", line: 2 });
  });
});
