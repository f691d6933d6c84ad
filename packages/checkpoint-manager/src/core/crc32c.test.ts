import { describe, expect, it } from "vitest";
import { crc32c, crcHex } from "./crc32c.ts";

const VECTORS: readonly [string, Uint8Array, string][] = [
  ["nothing", new Uint8Array(0), "00000000"],
  ["123456789", new TextEncoder().encode("123456789"), "e3069283"],
  ["32 zeros", new Uint8Array(32), "8a9136aa"],
  ["32 ff", new Uint8Array(32).fill(0xff), "62a8ab43"],
  ["00..1f", Uint8Array.from({ length: 32 }, (_, index) => index), "46dd794e"],
  ["65,536 zeros", new Uint8Array(65_536), "72c0c4a4"],
  ["262,144 zeros", new Uint8Array(262_144), "f032bcf3"],
];

/** Bit by bit, from the definition. */
function slow(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

describe("crc32c", () => {
  it.each(VECTORS)("of %s", (_, bytes, expected) => {
    expect(crcHex(crc32c(bytes))).toBe(expected);
  });

  it("equals the definition for every length and alignment", () => {
    const bytes = Uint8Array.from({ length: 80 }, (_, index) => (index * 37 + 11) & 255);
    for (let begin = 0; begin < 9; begin++) {
      for (let end = begin; end <= bytes.length; end++) {
        expect(crc32c(bytes, begin, end)).toBe(slow(bytes.subarray(begin, end)));
      }
    }
  });

  it("continues", () => {
    const bytes = Uint8Array.from({ length: 100 }, (_, index) => index);
    expect(crc32c(bytes, 33, 100, crc32c(bytes, 0, 33))).toBe(crc32c(bytes));
  });
});
