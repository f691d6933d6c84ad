import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Embedded, fixtures, hashesOf, type JobObject, tinyJob } from "./harness.ts";

// The oracle of every kill: the hashes of the undisturbed run.

const STEPS = 150;
let shardwright: Embedded;
let folder: string;
let undisturbed: Record<"lora" | "full", JobObject>;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
  undisturbed = {
    lora: await shardwright.finish(longJob("calm-lora", "lora", 1)),
    full: await shardwright.finish(longJob("calm-full", "full", 1)),
  };
}, 240_000);
afterAll(async () => {
  await shardwright.stop();
});

function longJob(
  name: string,
  method: "lora" | "full",
  members: number,
): { metadata: { name: string } } {
  return tinyJob(folder, {
    name,
    method,
    members,
    steps: STEPS,
    extra: { checkpoint: { every: { steps: 25 }, keepLast: 2 } },
  });
}

function expectSameBits(job: JobObject, method: "lora" | "full"): void {
  expect(hashesOf(job)).toEqual(hashesOf(undisturbed[method]));
}

describe.each(["lora", "full"] as const)("%s", (method) => {
  it("survives kill -9 of a rank with the same bits", async () => {
    const name = `kill-rank-${method}`;
    await shardwright.apply(longJob(name, method, 3));
    await shardwright.reach(name, 20);
    const [, second] = await shardwright.members(name);
    const pid = second?.ranks[0]?.pid ?? 0;
    expect(pid).toBeGreaterThan(1);
    process.kill(pid, "SIGKILL");
    const job = await shardwright.complete(name);
    expectSameBits(job, method);
    expect(job.status.recoveries?.count).toBeGreaterThanOrEqual(1);
  });

  it("survives kill -9 of a whole member with the same bits", async () => {
    const name = `kill-member-${method}`;
    await shardwright.apply(longJob(name, method, 3));
    await shardwright.reach(name, 20);
    const [first] = await shardwright.members(name);
    const pids = [first?.pid ?? 0, ...(first?.ranks ?? []).map(({ pid }) => pid)];
    for (const pid of pids) process.kill(pid, "SIGKILL");
    expectSameBits(await shardwright.complete(name), method);
  });

  it("survives kill -9 of the control plane with the same bits", async () => {
    const name = `kill-services-${method}`;
    await shardwright.apply(longJob(name, method, 2));
    await shardwright.reach(name, 20);
    await shardwright.killServices();
    await shardwright.up();
    expectSameBits(await shardwright.complete(name), method);
  });
});

describe("every rank at once", () => {
  it("goes on from the last checkpoint with the same bits", async () => {
    await shardwright.apply(longJob("kill-all", "lora", 2));
    await shardwright.reach("kill-all", 60);
    for (const member of await shardwright.members("kill-all")) {
      for (const { pid } of member.ranks) process.kill(pid, "SIGKILL");
    }
    const job = await shardwright.complete("kill-all");
    expectSameBits(job, "lora");
    const generations = await shardwright.json<{ items: { step: number }[] }>(
      "get",
      "generations",
      "kill-all",
    );
    expect(generations.items.at(-1)?.step).toBeGreaterThanOrEqual(25);
  });
});
