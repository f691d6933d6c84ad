import { describe, expect, it } from "vitest";
import { HEADER_BYTES_MAX, headerLength, parsePackHeader } from "./pack-header.ts";

const F32 = (count: number, begin: number): object => ({
  dtype: "F32",
  shape: [count],
  data_offsets: [begin, begin + 4 * count],
});
/** Parses a header text in front of `dataBytes` bytes. */
function parse(text: string, dataBytes: number): ReturnType<typeof parsePackHeader> {
  return parsePackHeader(text, text.length, 8 + text.length + dataBytes);
}
const why = (text: string, dataBytes = 8): string => {
  const parsed = parse(text, dataBytes);
  return parsed.ok ? "accepted" : parsed.why;
};

function lengthBytes(length: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, length, true);
  return bytes;
}

describe("a pack header", () => {
  it("gives its entries in file order", () => {
    const text = JSON.stringify({ b: F32(1, 4), a: F32(1, 0), __metadata__: { swc: "x" } }).padEnd(
      300,
    );
    const parsed = parse(text, 8);
    expect(parsed.ok && parsed.header.entries.map((entry) => [entry.name, entry.begin])).toEqual([
      ["a", 308],
      ["b", 312],
    ]);
  });

  it("may hold 0-dim and empty tensors", () => {
    const text = JSON.stringify({
      scalar: { dtype: "F32", shape: [], data_offsets: [0, 4] },
      empty: { dtype: "F32", shape: [0, 7], data_offsets: [4, 4] },
    });
    expect(parse(text, 4).ok).toBe(true);
  });

  it.each([
    ["a hole", JSON.stringify({ a: F32(1, 0), b: F32(1, 8) }), 12, /hole before "b"/],
    ["an overlap", JSON.stringify({ a: F32(2, 0), b: F32(1, 4) }), 8, /overlap at "b"/],
    ["a trailing byte", JSON.stringify({ a: F32(1, 0) }), 5, /the file at/],
    ["a missing byte", JSON.stringify({ a: F32(1, 0) }), 3, /the file at/],
    [
      "a negative offset",
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
      4,
      /not natural/,
    ],
    [
      "a negative size",
      '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
      4,
      /not natural/,
    ],
    ["a fraction", '{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,6]}}', 6, /not natural/],
    [
      "an overflowing shape",
      `{"a":{"dtype":"F32","shape":[${2 ** 40},${2 ** 40}],"data_offsets":[0,0]}}`,
      0,
      /its shape needs/,
    ],
    [
      "an offset above 2^53",
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999]}}',
      4,
      /not natural/,
    ],
    [
      "ends before begin",
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
      4,
      /its shape needs/,
    ],
    [
      "a duplicate key",
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
      8,
      /stands twice/,
    ],
    [
      "a duplicate field",
      '{"a":{"dtype":"F32","shape":[1],"shape":[2],"data_offsets":[0,4]}}',
      4,
      /stands twice/,
    ],
    [
      "an escaped duplicate",
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
      8,
      /stands twice/,
    ],
    [
      "an unknown dtype",
      '{"a":{"dtype":"F3","shape":[1],"data_offsets":[0,4]}}',
      4,
      /unknown dtype/,
    ],
    [
      "an extra field",
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}',
      4,
      /exactly dtype/,
    ],
    ["a list", "[1]", 4, /does not start/],
    ["white space first", " {}", 0, /does not start/],
    ["text after it", "{}x", 0, /something follows/],
    ["no end", '{"a":', 0, /no value/],
    ["deep nesting", `{"a":${"[".repeat(100_000)}`, 0, /nested deeper/],
    ["metadata of numbers", '{"__metadata__":{"a":1}}', 0, /map of strings/],
  ])("with %s is refused", (_, text, dataBytes, expected) => {
    expect(why(text, dataBytes)).toMatch(expected);
  });

  it("of an impossible length is refused before anything is allocated", () => {
    for (const length of [0n, 1n, 93n, BigInt(HEADER_BYTES_MAX) + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      expect(headerLength(lengthBytes(length), 100)).toHaveProperty("why");
    }
    expect(headerLength(lengthBytes(BigInt(HEADER_BYTES_MAX) + 1n), 2 ** 40)).toHaveProperty("why");
    expect(headerLength(lengthBytes(92n), 100)).toBe(92);
    expect(headerLength(new Uint8Array(3), 3)).toHaveProperty("why");
  });
});
