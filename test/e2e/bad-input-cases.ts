import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./harness.ts";

/** A fixture that is written by who uses it: what bytes would not survive an editor or fill the repository. */
interface Made {
  readonly file: string;
  readonly make: "text" | "repeat" | "utf16" | "bytes";
  readonly text?: string;
  readonly prefix?: string;
  readonly unit?: string;
  readonly count?: number;
  readonly suffix?: string;
  readonly hex?: string;
}

/** A job document that must be refused; `mentions` is what stands in the answer, all of it. */
export interface SpecCase {
  readonly file: string;
  readonly path: string;
  readonly mentions: readonly string[];
}

/** A training file that must be refused; line null = the whole file is meant. */
export interface DataCase {
  readonly file: string;
  readonly path: string;
  readonly map: Readonly<Record<string, string>>;
  readonly line: number | null;
  readonly code: string;
}

interface SpecEntry {
  readonly file: string;
  readonly stage: "parse" | "decode";
  readonly complaints?: readonly { readonly path: string; readonly mentions: string }[];
}
type DataEntry = Omit<DataCase, "path">;

const FIXTURES = join(ROOT, "test/fixtures/bad-input");

function indexOf<T>(kind: string): T {
  return JSON.parse(readFileSync(join(FIXTURES, kind, "index.json"), "utf8")) as T;
}

/** What the shell that reads a text refuses itself, before the document is one: with its line. */
const SHELL_MENTIONS: Readonly<Record<string, string>> = {
  "alias-bomb.yaml": "aliases",
  "custom-tag.yaml": "line 7: the tag",
  "merge-key.yaml": "merge keys (<<) are not allowed",
  "duplicate-key.yaml": "keys must be unique",
  "too-many-documents.yaml": "one file has at most",
  "bad-indentation.yaml": "line 1: ",
  "open-bracket.yaml": "line 8",
  "truncated.json": "line 1",
  "two-mebibytes.yaml": "a job file has at most",
  "utf16.yaml": "not UTF-8",
  "latin1.yaml": "not UTF-8",
  "proto-key.json": "line 4: the key __proto__ is not allowed",
  "constructor-key.yaml": "line 7: the key constructor is not allowed",
};

/** Every malformed job document, written to `folder`. */
export function specCases(folder: string): readonly SpecCase[] {
  const { specs, made } = indexOf<{ specs: SpecEntry[]; made: (Made & SpecEntry)[] }>("specs");
  for (const { file } of specs) copyFileSync(join(FIXTURES, "specs", file), join(folder, file));
  for (const one of made) writeFileSync(join(folder, one.file), bytesOf(one));
  return [...specs, ...made].map(({ file, complaints = [] }) => ({
    file,
    path: join(folder, file),
    mentions:
      SHELL_MENTIONS[file] === undefined
        ? complaints.flatMap(({ path, mentions }) => [path, mentions])
        : [SHELL_MENTIONS[file]],
  }));
}

/** Every malformed training file, written to `folder`. */
export function dataCases(folder: string): readonly DataCase[] {
  const { files, made } = indexOf<{ files: DataEntry[]; made: (Made & DataEntry)[] }>("data");
  for (const { file } of files) copyFileSync(join(FIXTURES, "data", file), join(folder, file));
  for (const one of made) writeFileSync(join(folder, one.file), bytesOf(one));
  return [...files, ...made].map(({ file, map, line, code }) => ({
    file,
    map,
    line,
    code,
    path: join(folder, file),
  }));
}

function bytesOf(made: Made): Buffer {
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
