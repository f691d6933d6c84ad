import { permute } from "@shardwright/planner";
import { describe, expect, it } from "vitest";
import { type Consumed, digestOf, firstDifference, plannedRows } from "./ledger.ts";

describe("the plan written a second time", () => {
  it.each([
    [7, 64, 8],
    [0, 24, 4],
    [2 ** 53 - 1, 40, 8],
  ])("agrees with the product's order: seed %i, %i examples, %i lanes", (seed, examples, lanes) => {
    const steps = (3 * examples) / lanes;
    const rows = plannedRows({ seed, examples, lanes, steps });
    expect(rows).toHaveLength(steps * lanes);
    for (const [at, [step, lane, ids]] of rows.entries()) {
      expect([step, lane]).toEqual([Math.floor(at / lanes) + 1, at % lanes]);
      const epoch = Math.floor(at / examples);
      expect(ids).toEqual([permute(seed, epoch, examples, at % examples) + 1]);
    }
  });
});

describe("the comparison", () => {
  const planned = plannedRows({ seed: 7, examples: 16, lanes: 4, steps: 6 });

  it.each<[string, (rows: Consumed[]) => unknown]>([
    ["a lane left out", (rows) => rows.splice(5, 1)],
    ["a lane twice", (rows) => rows.splice(5, 0, rows[5] as Consumed)],
    ["another example", (rows) => rows.splice(5, 1, [2, 1, [17]])],
    [
      "two examples exchanged",
      (rows) => rows.splice(0, 2, [1, 0, rows[1]?.[2] ?? []], [1, 1, rows[0]?.[2] ?? []]),
    ],
    ["a step too many", (rows) => rows.push([7, 0, [1]])],
  ])("sees %s", (_, spoil) => {
    const spoilt = [...planned];
    spoil(spoilt);
    expect(firstDifference(planned, spoilt)).toContain("planned");
    expect(digestOf(spoilt)).not.toBe(digestOf(planned));
  });

  it("is content with the plan itself", () => {
    expect(firstDifference(planned, [...planned])).toBeNull();
  });
});
