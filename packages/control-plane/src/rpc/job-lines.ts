import { createReadStream } from "node:fs";
import { LINE_CHARACTERS_MAX } from "@shardwright/job";

/** A line of a file: decoded, or the column of the first byte that is not UTF-8. */
export type FileLine =
  | { readonly number: number; readonly text: string }
  | { readonly number: number; readonly badColumn: number };

// A character takes at most four bytes; what is kept of a longer line is still too long for who checks it.
const LINE_BYTES_MAX = 4 * (LINE_CHARACTERS_MAX + 1);
const LINE_FEED = 0x0a;

/** The lines of a file in memory that does not depend on it, whatever it holds. */
export async function* linesOf(path: string): AsyncGenerator<FileLine, void, void> {
  let parts: Buffer[] = [];
  let kept = 0;
  let number = 0;
  const keep = (piece: Buffer): void => {
    const part = piece.subarray(0, LINE_BYTES_MAX - kept);
    if (part.length > 0) parts.push(part);
    kept += part.length;
  };
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let begin = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, begin)) {
      keep(chunk.subarray(begin, end + 1));
      number += 1;
      yield decode(Buffer.concat(parts), number);
      parts = [];
      kept = 0;
      begin = end + 1;
    }
    keep(chunk.subarray(begin));
  }
  if (kept > 0) yield decode(Buffer.concat(parts), number + 1);
}

function decode(bytes: Buffer, number: number): FileLine {
  const replaced = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  // A line that was cut may end inside a character: it is refused for its length.
  if (bytes.length >= LINE_BYTES_MAX) return { number, text: replaced };
  try {
    return {
      number,
      text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
    };
  } catch {
    return { number, badColumn: replaced.indexOf("\ufffd") + 1 };
  }
}
