import type { JobView } from "@shardwright/job/phase";
import type { Generation } from "@shardwright/proto/gen/shardwright/v1/job_service";
import { expect, it } from "vitest";
import { aRunningJob } from "../../../../test/support/job-builder.ts";
import { type Before, recoveryLine, recoveryOf } from "./recovery.ts";

const BEFORE: Before = { generation: 2, step: 117, stepsRedone: 3 };

function aJob(generation: number, step: number, stepsRedone = 3): JobView {
  const job = aRunningJob();
  const { membership, progress, recoveries } = job.status;
  if (membership === null || progress === null) throw new Error("the job does not run");
  return {
    ...job,
    status: {
      ...job.status,
      membership: { ...membership, generation, ranks: 3 },
      progress: { ...progress, step },
      recoveries: { ...recoveries, stepsRedone },
    },
  };
}

function aGeneration(generation: number, step: number, worldSize: number): Generation {
  const rest = { reason: undefined, movedBytes: 0n, seconds: 0.4, committedTime: undefined };
  return {
    generation: BigInt(generation),
    step: BigInt(step),
    worldSize,
    source: "live",
    ...rest,
  };
}

it("counts only a step of a later generation as recovered", () => {
  const goal = { kind: "next generation" } as const;
  const third = aGeneration(3, 117, 2);
  // A late report of the generation that broke.
  expect(recoveryOf(aJob(2, 118), BEFORE, goal, [])).toBeNull();
  expect(recoveryOf(aJob(3, 117), BEFORE, goal, [third])).toBeNull();
  const recovery = { generation: 3, ranks: 2, step: 118, stepsLost: 0 };
  expect(recoveryOf(aJob(3, 118), BEFORE, goal, [aGeneration(2, 5, 3), third])).toEqual(recovery);
  // The lost rank is back already: what took the next step is still generation 3.
  const fourth = aGeneration(4, 118, 3);
  expect(recoveryOf(aJob(4, 118), BEFORE, goal, [fourth, third])).toEqual(recovery);
});

it("counts steps that had to be done again", () => {
  const goal = { kind: "next generation" } as const;
  const found = recoveryOf(aJob(3, 101, 20), BEFORE, goal, [aGeneration(3, 100, 1)]);
  expect(found).toMatchObject({ step: 101, stepsLost: 17 });
});

it("wants one more step of a rank that was only stopped", () => {
  const goal = { kind: "next step", beyond: 118 } as const;
  expect(recoveryOf(aJob(2, 118), BEFORE, goal, [])).toBeNull();
  expect(recoveryOf(aJob(2, 119), BEFORE, goal, [])).toMatchObject({ generation: 2, ranks: 3 });
});

it("is one line", () => {
  const recovery = { generation: 3, ranks: 2, step: 118, stepsLost: 0 };
  expect(recoveryLine("rank 1 killed (pid 123)", recovery, { before: BEFORE, ms: 612 })).toBe(
    "rank 1 killed (pid 123) → generation 3 with 2 ranks, step 118, 0 steps lost, 0.6 s",
  );
  const same = { generation: 2, ranks: 1, step: 119, stepsLost: 1 };
  expect(recoveryLine("rank 0 stopped", same, { before: BEFORE, ms: 2_100 })).toBe(
    "rank 0 stopped → still generation 2 with 1 rank, step 119, 1 step lost, 2.1 s",
  );
});
