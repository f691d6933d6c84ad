import { afterAll, beforeAll, expect, it } from "vitest";
import { Embedded, fixtures, hashesOf, type JobObject, tinyJob } from "./harness.ts";

// A rank that is really slower (stopped most of the time): it gets fewer lanes, and the bits do not change.

const STEPS = 600;
let shardwright: Embedded;
let folder: string;
let calm: JobObject;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
  calm = await shardwright.finish(job("calm", 1));
}, 300_000);
afterAll(async () => {
  await shardwright.stop();
});

const job = (name: string, members: number) =>
  tinyJob(folder, {
    name,
    members,
    steps: STEPS,
    extra: { checkpoint: { every: { steps: STEPS }, keepLast: 2 } },
  });

interface Generations {
  readonly items: readonly {
    readonly reason: string;
    readonly movedBytes: number;
  }[];
}

it("gives a slow rank fewer lanes, without a step or a byte of state, and the bits stay", async () => {
  await shardwright.apply(job("slow", 2));
  await shardwright.reach("slow", 5);
  const slow = ["chaos", "slow", "slow", "--rank", "1", "--factor", "8", "--for", "45s", "--yes"];
  const slowed = await shardwright.ctl(...slow);
  expect(slowed.stdout).toContain("rank 1 8 times slower for 45 s");
  const done = await shardwright.complete("slow");
  const { stdout: events } = await shardwright.ctl("events", "slow");
  expect(events).toMatch(
    /Straggler .*rank 1 of member slow-m1 is slow: it gets [1-3] of its 4 lanes/,
  );
  const { items } = await shardwright.json<Generations>("get", "generations", "slow");
  const moved = items.filter(({ reason }) => reason === "LanesMoved");
  expect(moved.length).toBeGreaterThan(0);
  expect(moved.map(({ movedBytes }) => Number(movedBytes))).toEqual(moved.map(() => 0));
  expect(hashesOf(done)).toEqual(hashesOf(calm));
  expect(done.status.recoveries).toMatchObject({ count: 0, stepsRedone: 0 });
});
