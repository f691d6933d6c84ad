import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exchangeToCheapest, pricePerShare } from "./exchange.ts";

const RANKS = 4;
const PRICE = 1000;

/** Every way to choose `count` of the ranks. */
function choices(count: number, from = 0): number[][] {
  if (count === 0) return [[]];
  return Array.from({ length: RANKS - from }, (_, at) => from + at).flatMap((first) =>
    choices(count - 1, first + 1).map((others) => [first, ...others]),
  );
}

/** The least over all assignments, block by block, remembering the cheapest way to each tuple of counts. */
function least(costs: readonly (readonly number[])[], each: number): number {
  let ways = new Map([[Array(RANKS).fill(0).join(), 0]]);
  for (const row of costs) {
    const next = new Map<string, number>();
    for (const [key, cost] of ways) {
      for (const chosen of choices(each)) {
        const counts = key.split(",").map(Number);
        for (const rank of chosen) counts[rank] = (counts[rank] ?? 0) + 1;
        const sum = chosen.reduce((all, rank) => all + (row[rank] ?? 0), cost);
        const known = next.get(counts.join()) ?? Number.POSITIVE_INFINITY;
        next.set(counts.join(), Math.min(known, sum));
      }
    }
    ways = next;
  }
  const total = costs.length * each;
  const whole = [...ways].map(([key, cost]) => cost + priceOf(key.split(",").map(Number), total));
  return Math.min(...whole);
}

function priceOf(counts: readonly number[], total: number): number {
  const oneMore = pricePerShare(total, Array(RANKS).fill(1), PRICE);
  return counts.reduce(
    (all, count, rank) =>
      all + Array.from({ length: count }, (_, at) => oneMore(rank, at)).reduce((a, b) => a + b, 0),
    0,
  );
}

const price = (holders: readonly (readonly number[])[], costs: readonly (readonly number[])[]) => {
  const counts = Array<number>(RANKS).fill(0);
  let sum = 0;
  holders.forEach((some, block) => {
    for (const rank of some) {
      counts[rank] = (counts[rank] ?? 0) + 1;
      sum += costs[block]?.[rank] ?? 0;
    }
  });
  return (
    sum +
    priceOf(
      counts,
      counts.reduce((a, b) => a + b, 0),
    )
  );
};

describe("exchangeToCheapest", () => {
  it("finds what trying all assignments finds, from any start", () => {
    const cost = fc.oneof(fc.nat(3), fc.constant(Number.POSITIVE_INFINITY));
    // Rank 0 and the one after may hold everything, so that there is an assignment for up to two holders.
    const row = fc.tuple(fc.nat(3), fc.nat(3), cost, cost);
    fc.assert(
      fc.property(
        fc.array(row, { minLength: 1, maxLength: 7 }),
        fc.integer({ min: 1, max: 2 }),
        (costs, each) => {
          const holders = costs.map(() => [0, 1].slice(0, each));
          const oneMore = pricePerShare(costs.length * each, Array(RANKS).fill(1), PRICE);
          exchangeToCheapest({ ranks: RANKS, holders, costs, oneMore });
          for (const some of holders) expect(new Set(some).size).toBe(each);
          expect(price(holders, costs)).toBe(least(costs, each));
        },
      ),
    );
  });

  it("leaves what is cheapest as it is", () => {
    const holders = [[0], [1], [2], [3]];
    const costs = holders.map(() => [0, 0, 0, 0]);
    exchangeToCheapest({
      ranks: RANKS,
      holders,
      costs,
      oneMore: pricePerShare(4, [1, 1, 1, 1], 9),
    });
    expect(holders).toEqual([[0], [1], [2], [3]]);
  });

  it("splits by weight as by largest remainder", () => {
    const holders = Array.from({ length: 10 }, () => [0]);
    const costs = holders.map(() => [0, 0, 0, 0]);
    exchangeToCheapest({
      ranks: RANKS,
      holders,
      costs,
      oneMore: pricePerShare(10, [4, 3, 2, 1], 1),
    });
    const counts = [0, 1, 2, 3].map((rank) => holders.filter(([one]) => one === rank).length);
    expect(counts).toEqual([4, 3, 2, 1]);
  });
});
