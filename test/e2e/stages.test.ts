import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Embedded, fixtures, hashesOf, type JobObject, tinyJob } from "./harness.ts";

// Real processes: each job takes seconds to start and is worth it.

let shardwright: Embedded;
let folder: string;
let alone: JobObject;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
  alone = await shardwright.finish(aJob("alone", 1, {}));
}, 120_000);
afterAll(async () => {
  await shardwright.stop();
});

function aJob(
  name: string,
  members: number,
  train: Record<string, unknown>,
  more: { readonly steps?: number; readonly exactness?: string } = {},
): ReturnType<typeof tinyJob> {
  const extra = more.exactness === undefined ? {} : { exactness: more.exactness };
  const steps = more.steps ?? 8;
  return tinyJob(folder, { name, method: "full", members, train, steps, extra });
}

/** The words of `plan` for a job. */
async function planOf(job: ReturnType<typeof tinyJob>): Promise<string> {
  const file = join(shardwright.dataDir, `plan-${job.metadata.name}.json`);
  writeFileSync(file, JSON.stringify(job));
  return (await shardwright.ctl("plan", "-f", file)).stdout;
}

describe.each([0, 1, 2])("ZeRO stage %i", (zeroStage) => {
  it("ends in the bits of one rank, and says its stage", async () => {
    const name = `stage-${zeroStage}`;
    const wanted = aJob(name, 3, { zeroStage });
    expect(await planOf(wanted)).toContain(`Stage ${zeroStage}, as asked: `);
    const job = await shardwright.finish(wanted);
    expect(job.status.plan?.zeroStage).toBe(zeroStage);
    expect(hashesOf(job)).toEqual(hashesOf(alone));
    const described = await shardwright.ctl("describe", `job/${name}`);
    expect(described.stdout).toMatch(new RegExp(`ZeRO stage: +${zeroStage}, `));
  });
});

describe("stage 2", () => {
  it("survives kill -9 of a rank with the same bits", async () => {
    const steps = 150;
    const calm = await shardwright.finish(aJob("calm", 1, {}, { steps }));
    await shardwright.apply(aJob("released", 3, { zeroStage: 2 }, { steps }));
    await shardwright.reach("released", 20);
    const [, second] = await shardwright.members("released");
    const pid = second?.ranks[0]?.pid ?? 0;
    expect(pid).toBeGreaterThan(1);
    process.kill(pid, "SIGKILL");
    const job = await shardwright.complete("released");
    expect(job.status.recoveries?.count).toBeGreaterThanOrEqual(1);
    expect(hashesOf(job)).toEqual(hashesOf(calm));
  });
});

describe("exactness fast", () => {
  it("gives up the order of sums and nothing else, and says so", async () => {
    const fast = aJob("fast", 3, {}, { exactness: "fast" });
    const job = await shardwright.finish(fast);
    const again = await shardwright.finish({ ...fast, metadata: { name: "fast-again" } });
    expect(hashesOf(again)).toEqual(hashesOf(job));
    expect(hashesOf(job)["consumedSha256"]).toBe(hashesOf(alone)["consumedSha256"]);
    expect(hashesOf(job)["weightsSha256"]).not.toBe(hashesOf(alone)["weightsSha256"]);
    const { stdout } = await shardwright.ctl("describe", "job/fast");
    for (const words of [await planOf(fast), stdout]) {
      expect(words).toContain("bits may differ when the world changes");
    }
  });
});
