import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Embedded, fixtures, hashesOf, type JobObject, tinyJob } from "./harness.ts";

// Members give notice (SIGTERM) while the job trains: nothing is lost, nothing is booked, the bits stay.

const STEPS = 300;
let shardwright: Embedded;
let folder: string;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
}, 120_000);
afterAll(async () => {
  await shardwright.stop();
});

// A checkpoint at the end only: what is handed over comes from no file.
const job = (name: string, method: "lora" | "full", members: number) =>
  tinyJob(folder, {
    name,
    method,
    members,
    steps: STEPS,
    extra: { checkpoint: { every: { steps: STEPS }, keepLast: 2 } },
  });

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 240; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error(`never: ${what}`);
}

async function ranks(name: string): Promise<number> {
  return (await shardwright.job(name)).status.membership?.ranks ?? 0;
}

function expectNothingLost(done: JobObject, calm: JobObject): void {
  expect(hashesOf(done)).toEqual(hashesOf(calm));
  expect(done.status.recoveries?.stepsRedone).toBe(0);
}

describe.each(["lora", "full"] as const)("a %s member that gives notice", (method) => {
  it("hands over, is replaced, and nothing is lost", async () => {
    const calm = await shardwright.finish(job(`calm-${method}`, method, 1));
    const name = `left-${method}`;
    // Two copies of full state here; what only the leaver holds: leaving.test.ts, test_step_regroup.py.
    await shardwright.apply(job(name, method, 1));
    await shardwright.reach(name, 5);
    expect(await shardwright.ctl("scale", name, "--members", "3")).toMatchObject({ code: 0 });
    await until("three ranks", async () => (await ranks(name)) === 3);
    const leaver = (await shardwright.members(name))[1];
    process.kill(leaver?.pid ?? 0, "SIGTERM");
    process.kill(leaver?.pid ?? 0, "SIGTERM");
    await until("another incarnation", async () => {
      const found = (await shardwright.members(name)).find((one) => one.name === leaver?.name);
      return (found?.incarnation ?? 0) > (leaver?.incarnation ?? 0);
    });
    const done = await shardwright.complete(name);
    expectNothingLost(done, calm);
    const { stdout } = await shardwright.ctl("events", name);
    expect(stdout).toContain("MemberLeft");
    expect(stdout).not.toContain("StateLost");
    expect(stdout).not.toMatch(/\bFault\b/);
  });
});
