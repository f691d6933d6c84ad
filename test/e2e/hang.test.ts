import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  Embedded,
  fixtures,
  hashesOf,
  type JobObject,
  type MemberView,
  python,
  tinyJob,
} from "./harness.ts";

// Processes that are stopped, not killed: who hangs is named and replaced, who only pauses is waited for.

// Shorter than the default of 30 s, by the flag that users have.
const HANG_SECONDS = 4;
const STEPS = 150;
let shardwright: Embedded;
let folder: string;
let calm: JobObject;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start(python(), ["--hang-after", `${HANG_SECONDS}s`]);
  calm = await shardwright.finish(job("calm"));
}, 300_000);
afterAll(async () => {
  await shardwright.stop();
});

// A checkpoint at the end only: nothing can come back from a file.
const job = (name: string) =>
  tinyJob(folder, {
    name,
    members: 2,
    steps: STEPS,
    extra: { checkpoint: { every: { steps: STEPS }, keepLast: 2 } },
  });

async function training(name: string): Promise<MemberView> {
  await shardwright.apply(job(name));
  await shardwright.reach(name, 5);
  const member = (await shardwright.members(name))[1];
  if (member === undefined) throw new Error(`${name} has no second member`);
  return member;
}

async function eventsOf(name: string): Promise<string> {
  return (await shardwright.ctl("events", name)).stdout;
}

/** Stopped for so long, then let go on, whatever happens in between. */
async function pause(pid: number, seconds: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  try {
    await sleep(seconds * 1000);
  } finally {
    process.kill(pid, "SIGCONT");
  }
}

it("names a rank that hangs, replaces it, and no step is lost", async () => {
  const member = await training("hangs");
  process.kill(member.ranks[0]?.pid ?? 0, "SIGSTOP");
  const done = await shardwright.complete("hangs");
  expect(hashesOf(done)).toEqual(hashesOf(calm));
  expect(done.status.recoveries).toMatchObject({ stepsRedone: 0 });
  const events = await eventsOf("hangs");
  expect(events).toMatch(new RegExp(`Hang .* local rank 0 of member ${member.name} `));
  expect(events).not.toContain("member hangs-m0 has been silent");
  expect(events).toMatch(/Recovered .* after: hang/);
});

it("waits for a rank that only pauses", async () => {
  const member = await training("pauses");
  await pause(member.ranks[0]?.pid ?? 0, 1);
  const done = await shardwright.complete("pauses");
  expect(hashesOf(done)).toEqual(hashesOf(calm));
  expect(await eventsOf("pauses")).not.toMatch(/Hang|Fault/);
});

it("calls an agent that is not heard unknown, and takes it back when it wakes up", async () => {
  const member = await training("sleeps");
  await pause(member.pid, HANG_SECONDS + 1);
  const done = await shardwright.complete("sleeps");
  expect(hashesOf(done)).toEqual(hashesOf(calm));
  expect(done.status.recoveries).toMatchObject({ stepsRedone: 0 });
});
