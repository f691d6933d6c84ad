import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Embedded, fixtures, hashesOf, tinyJob } from "./harness.ts";

// Members come and go while the job trains; the hashes are those of the undisturbed run.

const STEPS = 400;
let shardwright: Embedded;
let folder: string;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
});
afterAll(async () => {
  await shardwright.stop();
});

const job = (
  name: string,
  method: "lora" | "full",
  members: number,
): { metadata: { name: string } } =>
  tinyJob(folder, {
    name,
    method,
    members,
    steps: STEPS,
    extra: { checkpoint: { every: { steps: 100 }, keepLast: 2 } },
  });

/** Until the committed generation has this many ranks. */
async function worldSize(name: string, ranks: number): Promise<void> {
  for (let tries = 0; tries < 240; tries++) {
    const { status } = await shardwright.job(name);
    if (status.membership?.ranks === ranks && status.state === "Running") return;
    if (status.state === "Complete")
      throw new Error(`the job was over before it had ${ranks} ranks`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error(`job ${name} never had ${ranks} ranks`);
}

describe.each(["lora", "full"] as const)("scaling a %s job", (method) => {
  it("up and down gives the same bits", async () => {
    const name = `scaled-${method}`;
    const calm = await shardwright.finish(job(`calm-${method}`, method, 1));
    await shardwright.apply(job(name, method, 2));
    await shardwright.reach(name, 10);
    expect(await shardwright.ctl("scale", name, "--members", "3")).toMatchObject({ code: 0 });
    await worldSize(name, 3);
    expect(await shardwright.ctl("scale", name, "--members", "1")).toMatchObject({ code: 0 });
    await worldSize(name, 1);
    expect(await shardwright.members(name)).toHaveLength(1);
    expect(hashesOf(await shardwright.complete(name))).toEqual(hashesOf(calm));
  });
});

describe("scaling that cannot be", () => {
  it("says the range, exit 2", async () => {
    await shardwright.apply(job("small", "lora", 1));
    await shardwright.reach("small", 1);
    const refused = await shardwright.ctl("scale", "small", "--members", "9");
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("members");
    await shardwright.ctl("cancel", "small");
  });

  it("says that the job does not run", async () => {
    const refused = await shardwright.ctl("scale", "calm-lora", "--members", "2");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("does not run");
  });
});
