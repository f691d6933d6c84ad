import type { FileHandle } from "node:fs/promises";

// The format's own limit; larger headers are an attack on who reads them.
const HEADER_BYTES_MAX = 100_000_000;
const TENSORS_MAX = 1_000_000;
const LENGTH_BYTES = 8;

const DTYPE_BYTES: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
};

interface TensorRange {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

/**
 * What is wrong with a safetensors file as its header and its size tell it; null when nothing is. No tensor
 * is read, and nothing is allocated before its size was checked.
 */
export async function problemOfSafetensors(file: FileHandle): Promise<string | null> {
  const { size } = await file.stat();
  if (size < LENGTH_BYTES) return `is truncated: ${size} bytes hold no safetensors header`;
  const headerBytes = Number((await readAt(file, 0, LENGTH_BYTES)).readBigUInt64LE(0));
  if (headerBytes > HEADER_BYTES_MAX) {
    return `is not safetensors: its header would have ${headerBytes} bytes, at most ${HEADER_BYTES_MAX} are allowed`;
  }
  const dataBytes = size - LENGTH_BYTES - headerBytes;
  if (dataBytes < 0) {
    return `is truncated: the header has ${headerBytes} bytes, the file ends after ${size}`;
  }
  const header = asObject((await readAt(file, LENGTH_BYTES, headerBytes)).toString("utf8"));
  if (header === undefined) return "is not safetensors: its header is not a JSON object";
  return problemOfHeader(header, dataBytes);
}

function problemOfHeader(
  header: Readonly<Record<string, unknown>>,
  dataBytes: number,
): string | null {
  const names = Object.keys(header).filter((name) => name !== "__metadata__");
  if (names.length > TENSORS_MAX)
    return `has ${names.length} tensors, at most ${TENSORS_MAX} are allowed`;
  const ranges: TensorRange[] = [];
  for (const name of names) {
    const range = rangeOf(name, header[name]);
    if (typeof range === "string") return `tensor ${JSON.stringify(name.slice(0, 80))} ${range}`;
    ranges.push(range);
  }
  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of ranges) {
    if (begin !== covered) {
      const what = begin > covered ? "leaves a hole before it" : "overlaps another";
      return `tensor ${JSON.stringify(name.slice(0, 80))} ${what} (byte ${begin}, expected ${covered})`;
    }
    covered = end;
  }
  if (covered > dataBytes) {
    return `is truncated: its tensors end at byte ${covered} of the data, the file has ${dataBytes}`;
  }
  return covered < dataBytes ? `has ${dataBytes - covered} bytes behind its last tensor` : null;
}

/** The bytes of one tensor, or what is wrong with its entry. */
function rangeOf(name: string, entry: unknown): TensorRange | string {
  const {
    dtype,
    shape,
    data_offsets: offsets,
  } = (entry ?? {}) as Readonly<Record<string, unknown>>;
  const width = typeof dtype === "string" ? DTYPE_BYTES[dtype] : undefined;
  if (width === undefined) return `has an unknown dtype ${JSON.stringify(dtype)}`;
  if (!isCounts(shape)) return "has no valid shape";
  if (!isCounts(offsets) || offsets.length !== 2) return "has no valid data_offsets";
  const [begin = 0, end = 0] = offsets;
  const bytes = shape.reduce((product, length) => product * length, width);
  if (!Number.isSafeInteger(bytes) || end - begin !== bytes) {
    return `has ${end - begin} bytes, its dtype and shape need ${bytes}`;
  }
  return { name, begin, end };
}

function isCounts(value: unknown): value is readonly number[] {
  return (
    Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && Number(item) >= 0)
  );
}

function asObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, position);
  return bytes.subarray(0, bytesRead);
}
