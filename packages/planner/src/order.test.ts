import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { permute, philox4x32, type Words2, type Words4 } from "./order.ts";

const hex = (words: readonly number[]): string[] =>
  words.map((word) => word.toString(16).padStart(8, "0"));

describe("philox4x32", () => {
  // Known-answer vectors of the Random123 distribution.
  const known: readonly (readonly [Words4, Words2, readonly string[]])[] = [
    [
      [0, 0, 0, 0],
      [0, 0],
      ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      ["d16cfe09", "94fdcceb", "5001e420", "24126ea1"],
    ],
  ];
  it.each(known)("counter %j key %j", (counter, key, words) => {
    expect(hex(philox4x32(counter, key))).toEqual(words);
  });
});

describe("permute", () => {
  it("is a permutation of [0, n) for any seed, epoch and n", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.maxSafeNat(),
        fc.nat(1000),
        (n, seed, epoch) => {
          const image = Array.from({ length: n }, (_, index) => permute(seed, epoch, n, index));
          expect([...image].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
        },
      ),
      { numRuns: 60 },
    );
  });

  it("differs between epochs and between seeds, the high word of a seed included", () => {
    const image = (seed: number, epoch: number): number[] =>
      Array.from({ length: 64 }, (_, index) => permute(seed, epoch, 64, index));
    expect(image(1, 0)).not.toEqual(image(1, 1));
    expect(image(1, 0)).not.toEqual(image(2, 0));
    expect(image(1, 0)).not.toEqual(image(1 + 2 ** 32, 0));
  });

  it("spreads: every position is close to uniform over seeds", () => {
    const n = 8;
    const seeds = 4000;
    const counts = Array<number>(n).fill(0);
    for (let seed = 0; seed < seeds; seed++) {
      const at = permute(seed, 0, n, 3);
      counts[at] = (counts[at] ?? 0) + 1;
    }
    // Chi-squared with 7 degrees of freedom: above 24.3 has probability 0.001; the seeds are fixed.
    const expected = seeds / n;
    const chi = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    expect(chi).toBeLessThan(24.3);
  });

  it("reaches n near 2^52 without losing bits", () => {
    const n = 2 ** 52;
    const seen = new Set(Array.from({ length: 50 }, (_, index) => permute(7, 2, n, n - 1 - index)));
    expect(seen.size).toBe(50);
    for (const value of seen) expect(Number.isSafeInteger(value) && value < n).toBe(true);
  });

  it("refuses an index outside the rows", () => {
    expect(() => permute(0, 0, 10, 10)).toThrow("index 10 is outside [0, 10)");
    expect(() => permute(0, 0, 10, -1)).toThrow("outside");
  });
});
