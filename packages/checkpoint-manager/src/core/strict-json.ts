/**
 * JSON whose objects may not name a key twice. JSON.parse keeps the last of two equal keys in silence, which
 * in a safetensors header hides a tensor; a header is not canonical JSON, so it cannot be compared with its
 * own encoding either.
 */
export type Strict =
  | null
  | boolean
  | number
  | string
  | readonly Strict[]
  | ReadonlyMap<string, Strict>;

/** A header has two levels; anything much deeper is an attack on the stack. */
const DEPTH_MAX = 8;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const STRING = /"(?:[^"\\]|\\.)*"/y;
const SPACE = /[ \t\n\r]*/y;

/** Parses one value that fills the text. Throws SyntaxError saying what is wrong at which character. */
export function parseStrict(text: string): Strict {
  const reader: Reader = { text, at: 0 };
  const value = readValue(reader, 0);
  take(reader, SPACE);
  if (reader.at !== text.length) fail(reader, "something follows the value");
  return value;
}

interface Reader {
  readonly text: string;
  at: number;
}

function readValue(reader: Reader, depth: number): Strict {
  if (depth > DEPTH_MAX) fail(reader, `nested deeper than ${DEPTH_MAX}`);
  take(reader, SPACE);
  const first = reader.text[reader.at];
  if (first === "{") return readObject(reader, depth);
  if (first === "[") return readList(reader, depth);
  if (first === '"') return readString(reader);
  for (const [word, value] of [
    ["true", true],
    ["false", false],
    ["null", null],
  ] as const) {
    if (reader.text.startsWith(word, reader.at)) {
      reader.at += word.length;
      return value;
    }
  }
  const digits = take(reader, NUMBER);
  if (digits === "") fail(reader, "no value");
  return Number(digits);
}

function readObject(reader: Reader, depth: number): Strict {
  const fields = new Map<string, Strict>();
  reader.at += 1;
  if (skip(reader, "}")) return fields;
  do {
    take(reader, SPACE);
    if (reader.text[reader.at] !== '"') fail(reader, "no key");
    const key = readString(reader);
    if (fields.has(key)) fail(reader, `key ${JSON.stringify(key)} stands twice`);
    if (!skip(reader, ":")) fail(reader, "no colon after a key");
    fields.set(key, readValue(reader, depth + 1));
  } while (skip(reader, ","));
  if (!skip(reader, "}")) fail(reader, "an object does not end");
  return fields;
}

function readList(reader: Reader, depth: number): Strict {
  const items: Strict[] = [];
  reader.at += 1;
  if (skip(reader, "]")) return items;
  do items.push(readValue(reader, depth + 1));
  while (skip(reader, ","));
  if (!skip(reader, "]")) fail(reader, "a list does not end");
  return items;
}

function readString(reader: Reader): string {
  const raw = take(reader, STRING);
  if (raw === "") fail(reader, "a string does not end");
  return JSON.parse(raw) as string; // checks escapes and control characters
}

function skip(reader: Reader, character: string): boolean {
  take(reader, SPACE);
  if (reader.text[reader.at] !== character) return false;
  reader.at += 1;
  return true;
}

function take(reader: Reader, pattern: RegExp): string {
  pattern.lastIndex = reader.at;
  const found = pattern.exec(reader.text)?.[0] ?? "";
  reader.at += found.length;
  return found;
}

function fail(reader: Reader, why: string): never {
  throw new SyntaxError(`${why} at character ${reader.at}`);
}
