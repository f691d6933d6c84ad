/**
 * Golden vectors of the planner's arithmetic: TypeScript writes them, the Python twins of the trainer must
 * reproduce them. Every table is a pure function of the constants in this file.
 */
import {
  assignLanes,
  cover,
  liveMax,
  PERMUTATION_ID,
  partialsMax,
  permute,
  philox4x32,
  rowsOf,
  type Words2,
  type Words4,
} from "../../packages/planner/src/index.ts";

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

function orderVectors(): unknown {
  const words: readonly (readonly [Words4, Words2])[] = [
    [
      [0, 0, 0, 0],
      [0, 0],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
    ],
    [
      [5, 3, 1, 0],
      [3407, 0],
    ],
  ];
  const whole = [
    [0, 0, 1],
    [0, 0, 2],
    [0, 0, 3],
    [0, 0, 4],
    [0, 0, 5],
    [17, 0, 16],
    [17, 1, 16],
    [3407, 2, 17],
    [2 ** 40 + 7, 5, 31],
    [1, 2 ** 33 + 1, 10],
  ] as const;
  const single = [
    [3407, 0, 100_000, 0],
    [3407, 0, 100_000, 99_999],
    [3407, 3, 1_000_003, 123_456],
    [Number.MAX_SAFE_INTEGER, 0, 2 ** 33, 2 ** 32 + 5],
    [0, 1, 2 ** 52, 2 ** 52 - 1],
  ] as const;
  return {
    id: PERMUTATION_ID,
    philox: words.map(([counter, key]) => ({ counter, key, output: philox4x32(counter, key) })),
    permutations: whole.map(([seed, epoch, n]) => {
      const values = range(n).map((index) => permute(seed, epoch, n, index));
      return { seed, epoch, n, values };
    }),
    points: single.map(([seed, epoch, n, index]) => {
      return { seed, epoch, n, index, value: permute(seed, epoch, n, index) };
    }),
  };
}

function laneVectors(): unknown {
  const spans = [
    [0, 0],
    [0, 1],
    [0, 21],
    [21, 43],
    [43, 64],
    [0, 6],
    [6, 11],
    [11, 16],
    [1, 8],
    [5, 100],
  ] as const;
  const shares = [
    [8, [1, 1]],
    [8, [1, 1, 1]],
    [64, [1, 1, 1, 1, 1]],
    [2, [1, 1, 1]],
    [16, [3, 1]],
    [16, [1, 0.5, 0.25]],
    [8, [1000, 1]],
  ] as const;
  return {
    cover: spans.map(([lo, hi]) => ({ lo, hi, nodes: cover(lo, hi).map((n) => [n.lo, n.size]) })),
    assign: shares.map(([lanes, weights]) => {
      const ranges = assignLanes(lanes, weights).map(({ begin, end }) => [begin, end]);
      return { lanes, weights, ranges };
    }),
    worst: [8, 16, 32, 64].flatMap((lanes) =>
      range(16).map((index) => {
        const ranks = index + 1;
        const [live, partials] = [liveMax(lanes, ranks), partialsMax(lanes, ranks)];
        return { lanes, ranks, live, partials };
      }),
    ),
  };
}

function scheduleVectors(): unknown {
  const jobs = [
    { seed: 3407, rows: 20, batchSize: 8, lanes: 8, microBatchesPerLane: 1, microBatchRows: 1 },
    { seed: 0, rows: 7, batchSize: 4, lanes: 2, microBatchesPerLane: 1, microBatchRows: 2 },
    { seed: 11, rows: 30, batchSize: 13, lanes: 3, microBatchesPerLane: 3, microBatchRows: 2 },
    { seed: 5, rows: 3, batchSize: 8, lanes: 8, microBatchesPerLane: 1, microBatchRows: 1 },
  ];
  return {
    jobs: jobs.map((job) => {
      const steps = range(4).map((step) =>
        range(job.lanes).map((lane) =>
          range(job.microBatchesPerLane).map((microBatch) =>
            rowsOf(job.seed, job, { step, lane, microBatch }),
          ),
        ),
      );
      // steps[step][lane][microBatch] = rows
      return { ...job, stepsPerEpoch: Math.ceil(job.rows / job.batchSize), steps };
    }),
  };
}

/** Every vector file by its name without `.json`. */
export function plannerVectors(): Readonly<Record<string, unknown>> {
  return { order: orderVectors(), lanes: laneVectors(), schedule: scheduleVectors() };
}
