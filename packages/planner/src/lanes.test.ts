import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { assignLanes, cover, laneEfficiency, liveMax, partialsMax } from "./lanes.ts";

const pairs = (lo: number, hi: number): number[][] =>
  cover(lo, hi).map((node) => [node.lo, node.size]);
const ones = (n: number): number[] => Array<number>(n).fill(1);

describe("cover", () => {
  it.each([
    [
      0,
      21,
      [
        [0, 16],
        [16, 4],
        [20, 1],
      ],
    ],
    [
      21,
      43,
      [
        [21, 1],
        [22, 2],
        [24, 8],
        [32, 8],
        [40, 2],
        [42, 1],
      ],
    ],
    [
      43,
      64,
      [
        [43, 1],
        [44, 4],
        [48, 16],
      ],
    ],
    [
      0,
      6,
      [
        [0, 4],
        [4, 2],
      ],
    ],
    [
      6,
      11,
      [
        [6, 2],
        [8, 2],
        [10, 1],
      ],
    ],
    [
      11,
      16,
      [
        [11, 1],
        [12, 4],
      ],
    ],
  ])("of [%i, %i)", (lo, hi, nodes) => {
    expect(pairs(lo, hi)).toEqual(nodes);
  });

  /** The trainer's way: one entry per finished lane, the two tops merge while they are aligned siblings. */
  const stackOf = (lo: number, hi: number): (readonly [number, number])[] => {
    const stack: (readonly [number, number])[] = [];
    for (let lane = lo; lane < hi; lane++) {
      stack.push([lane, 1]);
      while (mergeTops(stack));
    }
    return stack;
  };
  const mergeTops = (stack: (readonly [number, number])[]): boolean => {
    const [left, right] = stack.slice(-2);
    if (left === undefined || right === undefined) return false;
    const size = left[1];
    if (right[1] !== size || left[0] % (2 * size) !== 0 || right[0] !== left[0] + size)
      return false;
    stack.splice(-2, 2, [left[0], 2 * size]);
    return true;
  };

  it("equals what a stack that merges aligned siblings is left with", () => {
    fc.assert(
      fc.property(fc.nat(130), fc.nat(130), (lo, length) => {
        expect(pairs(lo, lo + length)).toEqual(stackOf(lo, lo + length));
      }),
    );
  });
});

describe("liveMax", () => {
  const tables: readonly (readonly [number, readonly number[]])[] = [
    [8, [4, 3, 3, 2, 2, 2, 2, 1]],
    [16, [5, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1]],
    [32, [6, 5, 5, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3, 2]],
    [64, [7, 6, 7, 5, 6, 6, 5, 4, 5, 5, 4, 4, 4, 4, 4, 3]],
  ];
  it.each(tables)("G = %i for N = 1, 2, …", (lanes, live) => {
    expect(live.map((_, index) => liveMax(lanes, index + 1))).toEqual(live);
  });
});

describe("partialsMax", () => {
  it.each([
    [8, [1, 1, 2, 1, 1, 1, 1, 1]],
    [16, [1, 1, 3, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1]],
    [32, [1, 1, 4, 1, 3, 3, 3, 1, 2, 2, 2, 2, 2, 2, 2, 1]],
    [64, [1, 1, 5, 1, 5, 4, 4, 1, 3, 3, 3, 3, 3, 3, 3, 1]],
  ])("G = %i for N = 1, 2, …", (lanes, partials) => {
    expect(partials.map((_, index) => partialsMax(lanes, index + 1))).toEqual(partials);
  });
});

describe("laneEfficiency", () => {
  const ranks = [3, 5, 6, 7, 9, 10, 12, 14, 15, 24, 31];
  it.each([
    [8, [0.889, 0.8, 0.667, 0.571]],
    [16, [0.889, 0.8, 0.889, 0.762, 0.889, 0.8, 0.667, 0.571, 0.533]],
    [32, [0.97, 0.914, 0.889, 0.914, 0.889, 0.8, 0.889, 0.762, 0.711, 0.667, 0.516]],
    [64, [0.97, 0.985, 0.97, 0.914, 0.889, 0.914, 0.889, 0.914, 0.853, 0.889, 0.688]],
    [128, [0.992, 0.985, 0.97, 0.962, 0.948, 0.985, 0.97, 0.914, 0.948, 0.889, 0.826]],
  ])("G = %i", (lanes, shares) => {
    shares.forEach((share, index) => {
      expect(laneEfficiency(lanes, ranks[index] ?? 0)).toBeCloseTo(share, 3);
    });
  });
});

describe("assignLanes", () => {
  it("gives the first G mod N of equal ranks one extra", () => {
    const sizes = assignLanes(64, ones(5)).map(({ begin, end }) => end - begin);
    expect(sizes).toEqual([13, 13, 13, 13, 12]);
    expect(assignLanes(2, ones(3)).map(({ begin, end }) => end - begin)).toEqual([1, 1, 0]);
  });

  it("tiles [0, G), in rank order, near the weights, nobody idle while there are lanes", () => {
    const weights = fc.array(fc.double({ min: 0.01, max: 100, noNaN: true }), {
      minLength: 1,
      maxLength: 40,
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 256 }), weights, (lanes, shares) => {
        const ranges = assignLanes(lanes, shares);
        let next = 0;
        ranges.forEach(({ rank, begin, end }, index) => {
          expect([rank, begin]).toEqual([index, next]);
          if (lanes >= shares.length) expect(end).toBeGreaterThan(begin);
          next = end;
        });
        expect(next).toBe(lanes);
        expect(assignLanes(lanes, shares)).toEqual(ranges);
      }),
    );
  });

  it("follows weights by largest remainder", () => {
    const sizes = assignLanes(16, [3, 1]).map(({ begin, end }) => end - begin);
    expect(sizes).toEqual([12, 4]);
    expect(assignLanes(8, [1000, 1]).map(({ begin, end }) => end - begin)).toEqual([7, 1]);
  });

  it("refuses weights that mean nothing", () => {
    expect(() => assignLanes(8, [])).toThrow("nobody");
    expect(() => assignLanes(8, [1, 0])).toThrow("weights must be positive");
  });
});
