import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Embedded, fixtures, hashesOf, type JobObject, python, tinyJob } from "./harness.ts";

// A rank that is made slow on purpose: it goes on afterwards, and the bits stay.

const STEPS = 150;
let shardwright: Embedded;
let folder: string;
let calm: JobObject;

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start(python(), ["--leave-grace", "40s"]);
  calm = await shardwright.finish(job("calm"));
}, 300_000);
afterAll(async () => {
  await shardwright.stop();
});

const job = (name: string) => tinyJob(folder, { name, members: 2, steps: STEPS });

it("trains on with a slow rank, lets it run again, and the bits are the same", async () => {
  await shardwright.apply(job("slow"));
  await shardwright.reach("slow", 5);
  const pid = (await shardwright.members("slow"))[1]?.ranks[0]?.pid ?? 0;
  const words = ["slow", "--rank", "1", "--factor", "3", "--for", "2s", "--yes"];
  const slowed = await shardwright.ctl("chaos", "slow", ...words);
  expect(slowed).toMatchObject({ code: 0 });
  expect(slowed.stdout).toContain(`rank 1 3 times slower for 2.0 s (pid ${pid})`);
  const done = await shardwright.complete("slow");
  expect(hashesOf(done)).toEqual(hashesOf(calm));
  expect(done.status.recoveries).toMatchObject({ stepsRedone: 0 });
  expect((await shardwright.ctl("events", "slow")).stdout).not.toMatch(/\bHang\b|\bFault\b/);
});

it("gives its members the grace that up was told", async () => {
  await shardwright.apply(job("grace"));
  await shardwright.reach("grace", 1);
  const [member] = await shardwright.members("grace");
  const words = readFileSync(`/proc/${member?.pid}/cmdline`, "utf8").split("\0");
  expect(words[words.indexOf("--leave-grace-seconds") + 1]).toBe("40");
  await shardwright.complete("grace");
});
