import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { parseJobDocument } from "./parse.ts";

interface Expected {
  readonly file: string;
  readonly stage: "parse" | "decode";
  readonly complaints: readonly { readonly path: string; readonly mentions: string }[];
}

const folder = fileURLToPath(new URL("../../../test/fixtures/bad-input/specs/", import.meta.url));
const index = JSON.parse(readFileSync(`${folder}index.json`, "utf8")) as { specs: Expected[] };
const specs = index.specs.filter(({ stage }) => stage === "parse");

describe("malformed job documents", () => {
  it("are many", () => {
    expect(specs.length).toBeGreaterThan(100);
  });

  it.each(specs)("$file is refused with path and reason", ({ file, complaints }) => {
    const value: unknown = parse(readFileSync(folder + file, "utf8"));
    const reading = parseJobDocument(value);
    if (reading.ok) throw new Error("it was accepted");
    const at = (path: string): string =>
      reading.complaints
        .filter((complaint) => complaint.path === path)
        .map(({ problem }) => problem)
        .join("\n");
    for (const { path, mentions } of complaints) expect(at(path)).toContain(mentions);
    // One fault, one complaint: nothing follows from a wrong field but what is said of it.
    expect(reading.complaints).toHaveLength(complaints.length);
  });
});
