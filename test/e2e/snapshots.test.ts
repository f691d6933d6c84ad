import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Embedded, fixtures, hashesOf, type JobObject, tinyJob } from "./harness.ts";

// All live holders of a block die while their agents live: the job goes on from the agents' memory, never from the
// checkpoints, of which there is none before the end.

const STEPS = 120;
const METHODS = ["lora", "full"] as const;
let shardwright: Embedded;
let folder: string;
let undisturbed: Record<(typeof METHODS)[number], JobObject>;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
  undisturbed = {
    lora: await shardwright.finish(job("calm-lora", "lora", 1)),
    full: await shardwright.finish(job("calm-full", "full", 1)),
  };
}, 240_000);
afterAll(async () => {
  await shardwright.stop();
});

function job(
  name: string,
  method: (typeof METHODS)[number],
  members: number,
): { metadata: { name: string } } {
  const checkpoint = { every: { steps: 1_000 }, keepLast: 2 };
  return tinyJob(folder, { name, method, members, steps: STEPS, extra: { checkpoint } });
}

interface GenerationView {
  readonly source: string;
  readonly step: number;
}

/** Every generation after the first, and what the job came to. */
async function afterwards(name: string): Promise<{ job: JobObject; later: GenerationView[] }> {
  const done = await shardwright.complete(name);
  const { items } = await shardwright.json<{ items: GenerationView[] }>("get", "generations", name);
  return { job: done, later: items.slice(1) };
}

function expectFromMemory(
  { job: done, later }: { job: JobObject; later: GenerationView[] },
  method: (typeof METHODS)[number],
): void {
  const sources = later.map(({ source }) => source);
  expect(sources).toContain("snapshot");
  expect(sources).not.toContain("checkpoint");
  expect(sources).not.toContain("fresh");
  expect(later.find(({ source }) => source === "snapshot")?.step).toBeGreaterThan(0);
  expect(hashesOf(done)).toEqual(hashesOf(undisturbed[method]));
}

describe.each(METHODS)("%s", (method) => {
  it("goes on from the agents' memory when every rank is killed at once", async () => {
    const name = `kill-all-${method}`;
    await shardwright.apply(job(name, method, 2));
    await shardwright.reach(name, 40);
    for (const { ranks } of await shardwright.members(name))
      for (const { pid } of ranks) process.kill(pid, "SIGKILL");
    const events = await shardwright.ctl("events", name);
    expect(events.code).toBe(0);
    expectFromMemory(await afterwards(name), method);
  });
});

it("goes on from the agents' memory when an owner and its replica die together", async () => {
  const name = "kill-holders";
  await shardwright.apply(job(name, "full", 3));
  await shardwright.reach(name, 40);
  const members = await shardwright.members(name);
  // Of three ranks with two copies any two hold some block alone.
  for (const { ranks } of members.slice(0, 2))
    for (const { pid } of ranks) process.kill(pid, "SIGKILL");
  expectFromMemory(await afterwards(name), "full");
});
