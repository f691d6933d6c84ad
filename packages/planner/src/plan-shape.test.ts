import { DEFAULTS, type JobSpec } from "@shardwright/job";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ParallelPlan } from "./parallel-plan.ts";
import { planJob } from "./plan.ts";
import { REFERENCE_CARDS } from "./reference-cards.ts";

/** A micro-batch of a CPU below this is mostly overhead. */
const TOKENS_LEAST = 256;
/** And beyond this it gains nothing more. */
const TOKENS_GOAL = 1024;

interface Case {
  readonly batchSize: number;
  readonly maxLength: number;
  readonly replicas: number;
  readonly max: number | null;
}

function planOf({ batchSize, maxLength, replicas, max }: Case): ParallelPlan {
  const source = { source: "file:///data.jsonl", rowsMax: null };
  const spec: JobSpec = {
    ...DEFAULTS,
    model: { source: "file:///model", ...DEFAULTS.model },
    data: { ...DEFAULTS.data, train: source, validation: null, test: null },
    train: { ...DEFAULTS.train, learningRate: 2e-4, batchSize, maxLength },
    resources: {
      gpuType: null,
      members: { ...DEFAULTS.resources.members, replicas, max },
      threadsPerRank: 1,
    },
    export: [],
    preset: null,
  };
  const devices = { kind: "cpu" as const, bytesPerRank: 40e9, ranksMax: 16, coresCount: 16 };
  const card = REFERENCE_CARDS.smollm2;
  const outcome = planJob({ spec, card, devices, data: null, calibration: null, recipe: null });
  if (!outcome.fits) throw new Error(outcome.reason.sentence);
  return outcome.plan;
}

const anyCase = fc
  .record({
    batchSize: fc.integer({ min: 1, max: 300 }),
    maxLength: fc.integer({ min: 16, max: 600 }),
    replicas: fc.integer({ min: 1, max: 8 }),
    room: fc.option(fc.integer({ min: 0, max: 8 })),
  })
  .map(
    ({ room, ...rest }): Case => ({
      ...rest,
      max: room === null ? null : rest.replicas + room,
    }),
  );

/** Lanes that every allowed world needs for equal work of its powers of two. */
const lanesNeeded = ({ replicas, max }: Case): number =>
  2 ** Math.ceil(Math.log2(max ?? Math.max(4, replicas)));

describe("rows of an adapter's micro-batch on a CPU", () => {
  it.each([
    // The quickstart: up to four members leave one row each.
    [{ batchSize: 4, maxLength: 256, replicas: 2, max: 4 }, [4, 1]],
    [{ batchSize: 4, maxLength: 256, replicas: 2, max: 2 }, [2, 2]],
    [{ batchSize: 16, maxLength: 256, replicas: 2, max: 2 }, [4, 4]],
    [{ batchSize: 16, maxLength: 256, replicas: 2, max: null }, [4, 4]],
    [{ batchSize: 16, maxLength: 256, replicas: 2, max: 6 }, [8, 2]],
    // Whatever world it starts with; only a multiple of four lanes is equal work for four.
    [{ batchSize: 16, maxLength: 256, replicas: 3, max: null }, [4, 4]],
    [{ batchSize: 24, maxLength: 256, replicas: 4, max: null }, [12, 2]],
    // Long rows are enough by themselves.
    [{ batchSize: 16, maxLength: 1024, replicas: 2, max: 2 }, [16, 1]],
  ])("%j → lanes, rows %j", (given, expected) => {
    const { recipe } = planOf(given);
    expect([recipe.lanes, recipe.microBatchRows]).toEqual(expected);
  });

  it("leaves every allowed rank work where the batch has as many rows", () => {
    fc.assert(
      fc.property(anyCase, (given) => {
        const { recipe } = planOf(given);
        const needed = Math.min(lanesNeeded(given), given.batchSize);
        expect(recipe.lanes).toBeGreaterThanOrEqual(needed);
      }),
    );
  });

  it("has a few hundred tokens, or twice the rows would unbalance the lanes or be more than a CPU gains from", () => {
    fc.assert(
      fc.property(anyCase, (given) => {
        const { microBatchRows: rows } = planOf(given).recipe;
        const isEnough = rows * Math.ceil(given.maxLength / 4) >= TOKENS_LEAST;
        const unbalances = given.batchSize % (2 * rows * lanesNeeded(given)) !== 0;
        const isTooMuch = 2 * rows * given.maxLength > TOKENS_GOAL;
        expect(isEnough || unbalances || isTooMuch).toBe(true);
      }),
    );
  });

  it("says why", () => {
    const together = planOf({ batchSize: 16, maxLength: 256, replicas: 2, max: 2 }).explanation;
    expect(together.join("\n")).toContain(
      "4 rows of about 64 tokens are computed together, because a CPU gains from it; 4 lanes leave work for each of up to 2 ranks.",
    );
    const alone = planOf({ batchSize: 4, maxLength: 256, replicas: 2, max: 4 }).explanation;
    expect(alone.join("\n")).toContain("so that each of up to 4 ranks has work");
    const long = planOf({ batchSize: 16, maxLength: 1024, replicas: 2, max: 2 }).explanation;
    expect(long.join("\n")).not.toContain("CPU gains");
  });
});
