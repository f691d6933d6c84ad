import { createReadStream } from "node:fs";
import { LINE_CHARACTERS_MAX } from "@shardwright/job/limits";

/** A line of a file: decoded, or the column of the first byte that is not UTF-8. */
export type TextLine =
  | { readonly number: number; readonly text: string }
  | { readonly number: number; readonly badColumn: number };

// A character takes at most four bytes: what is kept of a longer line is still too long for the checker, which
// then says so. Bounds the memory whatever the file is.
const LINE_BYTES_MAX = 4 * (LINE_CHARACTERS_MAX + 1);
const LINE_FEED = 0x0a;

/** The lines of a file, each with its line feed, in memory that does not depend on the file. */
export async function* readTextLines(path: string): AsyncGenerator<TextLine, void, void> {
  let parts: Buffer[] = [];
  let size = 0;
  let number = 1;
  const keep = (part: Buffer): void => {
    const kept = part.subarray(0, Math.max(0, LINE_BYTES_MAX - size));
    if (kept.length > 0) parts.push(kept);
    size += kept.length;
  };
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let begin = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, begin)) {
      keep(chunk.subarray(begin, end + 1));
      yield decode(Buffer.concat(parts), number++);
      parts = [];
      size = 0;
      begin = end + 1;
    }
    keep(chunk.subarray(begin));
  }
  if (size > 0) yield decode(Buffer.concat(parts), number);
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });

function decode(bytes: Buffer, number: number): TextLine {
  // A line that was cut may end inside a character; it is refused for its length, not for that.
  const isCut = bytes.length >= LINE_BYTES_MAX;
  try {
    return { number, text: isCut ? lenient.decode(bytes) : strict.decode(bytes) };
  } catch {
    const before = lenient.decode(bytes).split("\ufffd", 1)[0] ?? "";
    // Columns count characters, as the trainer does.
    return { number, badColumn: [...before].length + 1 };
  }
}

const COMPRESSED: readonly (readonly [string, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["zip (also .xlsx)", [0x50, 0x4b, 0x03, 0x04]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["bzip2", [0x42, 0x5a, 0x68]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ["Parquet", [0x50, 0x41, 0x52, 0x31]],
];

/** The name of a format that is not text, by its first bytes; null for anything else. */
export function binaryFormatOf(start: Uint8Array): string | null {
  const found = COMPRESSED.find(([, magic]) => magic.every((byte, i) => start[i] === byte));
  return found?.[0] ?? null;
}
