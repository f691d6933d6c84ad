import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, it } from "vitest";
import { fixtures, hashesOf } from "../e2e/harness.ts";
import { Arena, calmShape, chaosJob } from "./arena.ts";
import { JOB_SECONDS_MAX, judge } from "./judge.ts";
import { type Schedule, scheduleOf, seedsOf } from "./schedule.ts";
import { summaryOf, testimonyOf } from "./testimony.ts";
import type { Hashes } from "./verdict.ts";
import { processesWith } from "./victims.ts";

// Real processes, killed and stopped at drawn instants; the hashes of the undisturbed runs are the oracle.
// A failure names its seed: SHARDWRIGHT_CHAOS_SEEDS=17 repeats it, SHARDWRIGHT_CHAOS_SEEDS=1-5000 goes on for days.

const SEEDS = seedsOf(process.env["SHARDWRIGHT_CHAOS_SEEDS"] ?? "1-40");
// Tiny jobs wait more than they compute: two at a time fill two cores.
const ARENAS = Math.min(2, SEEDS.length);

// Deeds wait for steps and moments before the job's own limit begins.
const TEST_MS_MAX = (2 * JOB_SECONDS_MAX + 120) * 1_000;

const schedules = SEEDS.map(scheduleOf);
const expected = new Map<string, Hashes>();
const free: Arena[] = [];
const all: Arena[] = [];
let failures = 0;

beforeAll(async () => {
  const folder = await fixtures();
  for (let made = 0; made < ARENAS; made++) all.push(await Arena.start(folder));
  free.push(...all);
  const [first] = all;
  if (first === undefined) throw new Error("no seeds");
  for (const schedule of schedules) {
    const key = shapeOf(schedule);
    if (expected.has(key)) continue;
    const job = await first.embedded.finish(chaosJob(folder, `calm-${key}`, calmShape(schedule)));
    expected.set(key, hashesOf(job));
  }
}, 400_000);

afterAll(async () => {
  for (const arena of all) {
    await arena.close(failures > 0);
    const left = processesWith(arena.embedded.dataDir);
    if (left.length > 0) throw new Error(`still live: ${left.join(", ")}`);
  }
}, 120_000);

it.concurrent.each(schedules.map((schedule) => [schedule.seed, schedule] as const))(
  "seed %i ends with the bits of the undisturbed run",
  async (seed, schedule) => {
    const arena = await freeArena();
    const name = `seed-${seed}`;
    try {
      const calm = expected.get(shapeOf(schedule));
      if (calm === undefined) throw new Error("no undisturbed run of this shape");
      const { done, violations } = await judge(arena, name, schedule, calm);
      if (violations.length > 0) throw new Error(violations.join("\n"));
      console.log(summaryOf(arena, name, schedule, done));
    } catch (error) {
      failures += 1;
      console.error(testimonyOf(arena, name, schedule));
      await arena.embedded.ctl("delete", `job/${name}`, "--yes");
      throw error;
    } finally {
      free.push(arena);
    }
  },
  TEST_MS_MAX,
);

/** A test that was given up may still be on its way out of its arena. */
async function freeArena(): Promise<Arena> {
  for (;;) {
    const arena = free.pop();
    if (arena !== undefined) return arena;
    await sleep(100);
  }
}

function shapeOf({ method, steps }: Schedule): string {
  return `${method}-${steps}`;
}
