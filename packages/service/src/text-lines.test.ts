import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LINE_CHARACTERS_MAX } from "@shardwright/job/limits";
import { expect, it } from "vitest";
import { binaryFormatOf, readTextLines, type TextLine } from "./text-lines.ts";

const folder = mkdtempSync(join(tmpdir(), "shardctl-lines-"));

async function linesOf(content: string | Buffer): Promise<TextLine[]> {
  const path = join(folder, "rows");
  writeFileSync(path, content);
  const lines: TextLine[] = [];
  for await (const line of readTextLines(path)) lines.push(line);
  return lines;
}

it("gives every line with its line feed, the last one as it is", async () => {
  expect(await linesOf("one\ntwo\r\n\nlast")).toEqual([
    { number: 1, text: "one\n" },
    { number: 2, text: "two\r\n" },
    { number: 3, text: "\n" },
    { number: 4, text: "last" },
  ]);
  expect(await linesOf("")).toEqual([]);
});

it("keeps characters whole across the pieces of a stream", async () => {
  const row = `${"読み仮名😀".repeat(20_000)}\n`;
  expect(await linesOf(row.repeat(2))).toEqual([
    { number: 1, text: row },
    { number: 2, text: row },
  ]);
});

it("names the column of the first byte that is not UTF-8", async () => {
  const bytes = Buffer.concat([Buffer.from("good\nab"), Buffer.from([0xff]), Buffer.from("c\n")]);
  expect(await linesOf(bytes)).toEqual([
    { number: 1, text: "good\n" },
    { number: 2, badColumn: 3 },
  ]);
});

it("cuts an endless line where it is still recognisably too long", async () => {
  const lines = await linesOf(Buffer.alloc(4 * LINE_CHARACTERS_MAX + 10_000, "é"));
  expect(lines).toHaveLength(1);
  const [line] = lines;
  expect(line !== undefined && "text" in line && line.text.length > LINE_CHARACTERS_MAX).toBe(true);
});

it.each([
  ["gzip", [0x1f, 0x8b, 8]],
  ["Parquet", [0x50, 0x41, 0x52, 0x31]],
  [null, [...Buffer.from('{"messages"')]],
  [null, []],
])("knows %s by its first bytes", (name, bytes) => {
  expect(binaryFormatOf(Uint8Array.from(bytes))).toBe(name);
});
