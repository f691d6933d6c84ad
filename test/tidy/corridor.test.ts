import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { filesOf, ROOT, textOf } from "./tree.ts";

/** `path/file.ts` name, in backticks and bare words of ARCHITECTURE.md's corridor table. */
interface Mention {
  readonly file: string;
  readonly name: string;
}

function corridorRows(): string[] {
  const page = textOf("ARCHITECTURE.md");
  const start = page.indexOf("| stage |");
  const end = page.indexOf("\n\n", start);
  return page.slice(start, end).split("\n").slice(2);
}

function mentions(row: string): Mention[] {
  return [...row.matchAll(/`([A-Za-z0-9_./*-]+\.(?:ts|py))`\s+([A-Za-z_]\w*)/g)].map((match) => ({
    file: match[1] ?? "",
    name: match[2] ?? "",
  }));
}

/** Python paths are under the trainer's package; `*` stands for every adapter in a folder. */
function pathsOf(file: string): string[] {
  const base = file.endsWith(".py") ? "packages/trainer/shardwright_trainer/" : "packages/";
  if (!file.includes("*")) return [base + file];
  const folder = (base + file).slice(0, (base + file).lastIndexOf("/"));
  return readdirSync(join(ROOT, folder))
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
    .map((name) => `${folder}/${name}`);
}

function defines(path: string, name: string): boolean {
  if (!existsSync(join(ROOT, path))) return false;
  const pattern = new RegExp(
    `(function\\*?|const|class|interface|type|def) ${name}\\b|^\\s+(async )?\\*?${name}\\(`,
    "m",
  );
  return pattern.test(textOf(path));
}

describe("the corridor of ARCHITECTURE.md", () => {
  const rows = corridorRows();

  it("has a row for each stage", () => {
    const stages = rows.map((row) => row.split("|")[1]?.trim());
    expect(stages).toEqual([
      "submit",
      "validate",
      "plan",
      "place",
      "launch",
      "rendezvous",
      "train",
      "checkpoint",
      "resume, reshard",
      "export",
      "observe",
    ]);
  });

  it("names files and functions that exist", () => {
    const gone = rows
      .flatMap(mentions)
      .filter(({ file, name }) => !pathsOf(file).some((path) => defines(path, name)))
      .map(({ file, name }) => `${file} ${name}`);
    expect(gone).toEqual([]);
    expect(rows.flatMap(mentions).length).toBeGreaterThan(20);
  });
});

describe("the wire", () => {
  it("has a test that names every RPC", () => {
    const rpcs = filesOf("protos/**/*.proto").flatMap((path) =>
      [...textOf(path).matchAll(/rpc (\w+)\(/g)].map((match) => match[1] ?? ""),
    );
    const tests = filesOf("packages/**/*.test.ts", "test/**/*.ts", "packages/trainer/tests/*.py")
      .map((path) => textOf(path))
      .join("\n");
    const camel = (name: string): string => name.charAt(0).toLowerCase() + name.slice(1);
    const untested = rpcs.filter((name) => !tests.includes(camel(name)) && !tests.includes(name));
    expect(untested).toEqual([]);
    expect(rpcs.length).toBeGreaterThan(15);
  });
});
