import { parseStrict, type Strict } from "./strict-json.ts";

/** What official safetensors readers accept; a larger header is refused before it is read. */
export const HEADER_BYTES_MAX = 100_000_000;

export const DTYPE_BYTES: ReadonlyMap<string, number> = new Map([
  ...["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"].map((dtype) => [dtype, 1] as const),
  ...["I16", "U16", "F16", "BF16"].map((dtype) => [dtype, 2] as const),
  ...["I32", "U32", "F32"].map((dtype) => [dtype, 4] as const),
  ...["I64", "U64", "F64"].map((dtype) => [dtype, 8] as const),
]);

/** One tensor of a safetensors file; `begin` and `end` count bytes from the start of the file. */
export interface PackEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface PackHeader {
  /** 8 + N: where the buffer starts. */
  readonly dataBegin: number;
  /** In file order, covering the buffer exactly once. */
  readonly entries: readonly PackEntry[];
  readonly metadata: ReadonlyMap<string, string>;
}

/** N of a file of this size, or why it cannot be: checked before anything of that size is allocated. */
export function headerLength(
  first8: Uint8Array,
  fileBytes: number,
): number | { readonly why: string } {
  if (first8.length !== 8) return { why: `${first8.length} bytes are too few for a length` };
  const view = new DataView(first8.buffer, first8.byteOffset, 8);
  const length = view.getBigUint64(0, true);
  const most = Math.min(HEADER_BYTES_MAX, fileBytes - 8);
  if (length < 2n || length > BigInt(Math.max(0, most))) {
    return {
      why: `header length ${length} in a file of ${fileBytes} bytes (limit ${HEADER_BYTES_MAX})`,
    };
  }
  return Number(length);
}

/** The header whose N bytes decode to `text`, or why it is none. `headerBytes` is N. */
export function parsePackHeader(
  text: string,
  headerBytes: number,
  fileBytes: number,
):
  | { readonly ok: true; readonly header: PackHeader }
  | { readonly ok: false; readonly why: string } {
  try {
    return { ok: true, header: readHeader(text, headerBytes, fileBytes) };
  } catch (reason) {
    return { ok: false, why: reason instanceof Error ? reason.message : String(reason) };
  }
}

function readHeader(text: string, headerBytes: number, fileBytes: number): PackHeader {
  if (!text.startsWith("{")) throw new SyntaxError("does not start with '{'");
  const table = parseStrict(text);
  if (!(table instanceof Map)) throw new SyntaxError("not a JSON object");
  const dataBegin = 8 + headerBytes;
  const entries: PackEntry[] = [];
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of table) {
    if (name === "__metadata__") metadata = readMetadata(value);
    else entries.push(readEntry(name, value, dataBegin));
  }
  entries.sort((one, other) => one.begin - other.begin || one.end - other.end);
  checkCovered(entries, dataBegin, fileBytes);
  return { dataBegin, entries, metadata };
}

function readMetadata(value: Strict): ReadonlyMap<string, string> {
  const isText = (pair: [string, Strict]): pair is [string, string] => typeof pair[1] === "string";
  if (value instanceof Map && [...value].every(isText)) return value as ReadonlyMap<string, string>;
  throw new SyntaxError("__metadata__ is not a map of strings");
}

function readEntry(name: string, value: Strict, dataBegin: number): PackEntry {
  if (!(value instanceof Map) || value.size !== 3) {
    throw new SyntaxError(`"${name}" must have exactly dtype, shape and data_offsets`);
  }
  const dtype = value.get("dtype");
  const size = typeof dtype === "string" ? DTYPE_BYTES.get(dtype) : undefined;
  if (typeof dtype !== "string" || size === undefined) {
    throw new SyntaxError(`"${name}" has unknown dtype ${JSON.stringify(dtype)}`);
  }
  const shape = naturals(value.get("shape"));
  const offsets = naturals(value.get("data_offsets"));
  const [begin, end] = offsets ?? [];
  if (shape === null || offsets?.length !== 2 || begin === undefined || end === undefined) {
    throw new SyntaxError(`"${name}" has sizes or offsets that are not natural numbers`);
  }
  // A product beyond 2^53 is inexact, but then far larger than any file, so it cannot equal the offsets.
  const expected = size * elementsOf(shape);
  if (end - begin !== expected) {
    throw new SyntaxError(`"${name}" is ${end - begin} bytes, its shape needs ${expected}`);
  }
  return { name, dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

function checkCovered(entries: readonly PackEntry[], dataBegin: number, fileBytes: number): void {
  let at = dataBegin;
  for (const entry of entries) {
    if (entry.begin !== at) {
      const what = entry.begin > at ? "hole before" : "overlap at";
      throw new SyntaxError(`${what} "${entry.name}" (byte ${entry.begin}, expected ${at})`);
    }
    at = entry.end;
  }
  if (at !== fileBytes) {
    throw new SyntaxError(`the tensors end at byte ${at}, the file at ${fileBytes}`);
  }
}

/** Product of the dimensions; 1 for a 0-dim tensor. */
export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function naturals(value: Strict | undefined): readonly number[] | null {
  if (!Array.isArray(value)) return null;
  const list = value as readonly Strict[];
  const isNatural = (item: Strict): item is number =>
    Number.isSafeInteger(item) && (item as number) >= 0;
  return list.every(isNatural) ? list : null;
}
