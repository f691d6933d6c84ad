import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { rowsOf, stepsPerEpoch, totalSteps } from "./schedule.ts";

describe("rowsOf", () => {
  it("reads every row exactly once per epoch, whatever the shape of the batch", () => {
    const shapes = fc.record({
      rows: fc.integer({ min: 1, max: 120 }),
      batchSize: fc.integer({ min: 1, max: 40 }),
      microBatchesPerLane: fc.integer({ min: 1, max: 3 }),
      microBatchRows: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(shapes, fc.nat(9999), fc.nat(3), (shape, seed, epoch) => {
        const lanes = Math.ceil(
          shape.batchSize / (shape.microBatchesPerLane * shape.microBatchRows),
        );
        const perEpoch = stepsPerEpoch(shape.rows, shape.batchSize);
        const seen: number[] = [];
        for (let step = epoch * perEpoch; step < (epoch + 1) * perEpoch; step++) {
          for (let lane = 0; lane < lanes; lane++) {
            for (let microBatch = 0; microBatch < shape.microBatchesPerLane; microBatch++) {
              seen.push(...rowsOf(seed, shape, { step, lane, microBatch }));
            }
          }
        }
        expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: shape.rows }, (_, i) => i));
      }),
      { numRuns: 60 },
    );
  });

  it("leaves the lanes of a short last step empty", () => {
    const shape = { rows: 10, batchSize: 8, microBatchesPerLane: 1, microBatchRows: 1 };
    expect(rowsOf(3, shape, { step: 1, lane: 1, microBatch: 0 })).toHaveLength(1);
    expect(rowsOf(3, shape, { step: 1, lane: 2, microBatch: 0 })).toEqual([]);
  });
});

describe("totalSteps", () => {
  it("is epochs × ⌈rows ÷ batch⌉ unless maxSteps says otherwise", () => {
    expect(totalSteps({ epochs: 1, maxSteps: null, batchSize: 64 }, 100_000)).toBe(1563);
    expect(totalSteps({ epochs: 3, maxSteps: null, batchSize: 8 }, 20)).toBe(9);
    expect(totalSteps({ epochs: 3, maxSteps: 5, batchSize: 8 }, 20)).toBe(5);
  });
});
