import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it, onTestFailed } from "vitest";
import { Embedded, fixtures, type JobObject, tinyJob } from "../e2e/harness.ts";
import { type Deed, type Method, type Schedule, STEPS, scheduleOf, seedsOf } from "./schedule.ts";
import { stagedFiles, Tap } from "./tap.ts";
import { processesOf, processesWith, signal, victimsOf } from "./victims.ts";

// Real processes, killed and stopped at drawn instants; the hashes of the undisturbed runs are the oracle.
// A failure names its seed: SHARDWRIGHT_CHAOS_SEEDS=17 repeats it, SHARDWRIGHT_CHAOS_SEEDS=1-500 goes on for hours.

const SEEDS = seedsOf(process.env["SHARDWRIGHT_CHAOS_SEEDS"] ?? "1-6");
const JOB_SECONDS_MAX = 150;
// Agents end their ranks and themselves after a Stop; what does not is killed after 15 s.
const GONE_MS_MAX = 20_000;
// Kills this near to the end may need no generation more: the final save may be on its way already.
const END_STEPS = 40;

let shardwright: Embedded;
let folder: string;
let tap: Tap;
let failures = 0;
const undisturbed = new Map<Method, JobObject>();
const schedules = SEEDS.map(scheduleOf);

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
  tap = new Tap(shardwright.dataDir);
  for (const method of new Set(schedules.map((one) => one.method))) {
    const document = chaosJob(`calm-${method}`, { method, members: 1, saveEverySteps: 1_000 });
    undisturbed.set(method, await shardwright.finish(document));
  }
}, 240_000);

afterAll(async () => {
  tap.close();
  await shardwright.ctl("down");
  expect(processesWith(shardwright.dataDir)).toEqual([]);
  if (failures === 0) await shardwright.stop();
  else console.error(`kept: ${shardwright.dataDir}`);
});

it.each(schedules.map((schedule) => [schedule.seed, schedule] as const))(
  "seed %i ends with the bits of the undisturbed run",
  async (seed, schedule) => {
    const name = `seed-${seed}`;
    onTestFailed(async () => {
      failures += 1;
      console.error(await testimony(name, schedule));
      await shardwright.ctl("delete", "job", name, "--yes");
    });
    const applied = await shardwright.apply(chaosJob(name, schedule));
    expect(applied).toMatchObject({ code: 0 });
    const { hit, done } = await disturb(name, schedule.deeds);
    const seconds = `${JOB_SECONDS_MAX}s`;
    const complete = "--for=condition=Complete";
    const waited = await shardwright.ctl("wait", `job/${name}`, complete, "--timeout", seconds);
    expect(waited, waited.stderr).toMatchObject({ code: 0 });
    const job = await shardwright.job(name);

    // 1. The same bits, and every example once.
    const { artifacts: _, ...expected } = undisturbed.get(schedule.method)?.status.result ?? {};
    expect(expected).toHaveProperty("consumedSha256");
    expect(job.status.result).toMatchObject(expected);
    // 2. Generations only go up, and each one that lost a rank was followed by another.
    const numbers = await generationsOf(name);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    const last = numbers.at(-1) ?? 0;
    for (const generation of hit) expect(last).toBeGreaterThan(generation);
    // 3. Nothing stays behind.
    await expect
      .poll(() => processesOf(job.metadata.uid), { timeout: GONE_MS_MAX, interval: 200 })
      .toEqual([]);
    expect(stagedFiles(job.metadata.uid)).toEqual([]);
    console.log(summary(name, schedule, { generations: numbers.length, done }));
  },
  (JOB_SECONDS_MAX + 90) * 1_000,
);

function chaosJob(
  name: string,
  shape: Pick<Schedule, "method" | "members" | "saveEverySteps"> & { ranksPerMember?: number },
): { metadata: { name: string } } {
  const { method, members, saveEverySteps, ranksPerMember = 1 } = shape;
  const budget = 1_000; // budgets have tests of their own
  return tinyJob(folder, {
    name,
    method,
    members,
    steps: STEPS[method],
    extra: {
      checkpoint: { every: { steps: saveEverySteps }, keepLast: 2 },
      resources: { members: { replicas: members, min: 1, max: members, ranks: ranksPerMember } },
      faultBudget: {
        error: budget,
        oom: budget,
        communication: budget,
        hang: budget,
        node: budget,
        storage: budget,
      },
    },
  });
}

/** Does every deed when it is due: how many, and the generations that certainly lost a rank on the way. */
async function disturb(
  name: string,
  deeds: readonly Deed[],
): Promise<{ readonly hit: ReadonlySet<number>; readonly done: number }> {
  const hit = new Set<number>();
  let done = 0;
  const pauses: Promise<void>[] = [];
  for (const deed of deeds) {
    if (!(await tap.due(name, deed.when))) break;
    done += 1;
    switch (deed.what) {
      case "kill":
        kill(name, deed.targets, hit);
        break;
      case "stop": {
        const pids = pidsOf(name, deed.targets);
        signal(pids, "SIGSTOP");
        pauses.push(sleep(deed.pauseMs).then(() => signal(pids, "SIGCONT")));
        break;
      }
      case "restart":
        await shardwright.killServices();
        await sleep(deed.downMs / 2);
        kill(name, deed.meanwhile, hit);
        await sleep(deed.downMs / 2);
        await shardwright.up();
        break;
      default:
        deed satisfies never;
    }
  }
  await Promise.all(pauses);
  return { hit, done };
}

type Targets = Extract<Deed, { what: "kill" }>["targets"];

function kill(name: string, targets: Targets, hit: Set<number>): void {
  const job = tap.job(name);
  const pids = pidsOf(name, targets);
  signal(pids, "SIGKILL");
  if (job === undefined || job.committed === null) return;
  const isFarFromEnd = job.phase === "active" && job.step < totalOf(name) - END_STEPS;
  if (isFarFromEnd && pids.some((pid) => job.pids.includes(pid))) hit.add(job.committed);
}

function totalOf(name: string): number {
  const schedule = schedules.find(({ seed }) => name === `seed-${seed}`);
  return schedule === undefined ? 0 : STEPS[schedule.method];
}

function pidsOf(name: string, targets: Targets): readonly number[] {
  const uid = tap.job(name)?.uid;
  if (uid === undefined) return [];
  const found = targets.flatMap((target) => victimsOf(target, uid, storePid()));
  return [...new Set(found.map(({ pid }) => pid))];
}

function storePid(): number | undefined {
  const path = join(shardwright.dataDir, "store.json");
  if (!existsSync(path)) return undefined;
  return (JSON.parse(readFileSync(path, "utf8")) as { pid?: number }).pid;
}

async function generationsOf(name: string): Promise<readonly number[]> {
  const listed = await shardwright.json<{ items: { generation: number }[] }>(
    "get",
    "generations",
    name,
  );
  return listed.items.map(({ generation }) => Number(generation));
}

/** How it went, in a line: what was survived and how fast. */
function summary(
  name: string,
  { seed, method, members, deeds }: Schedule,
  { generations, done }: { readonly generations: number; readonly done: number },
): string {
  const recoveries = tap
    .eventsOf(name)
    .flatMap(({ code, sentence }) =>
      code === "Recovered" ? [/done ([\d.]+) s/.exec(sentence)?.[1] ?? "?"] : [],
    );
  const seconds = recoveries.length === 0 ? "none" : `${recoveries.join(", ")} s`;
  return `seed ${seed}: ${method}, ${members} members, ${done} of ${deeds.length} deeds, ${generations} generations; recoveries: ${seconds}`;
}

/** All that is needed to understand a failure; the data directory is kept beside it. */
async function testimony(name: string, schedule: Schedule): Promise<string> {
  const uid = tap.job(name)?.uid ?? "";
  const events = tap
    .eventsOf(name)
    .map(
      (one) =>
        `${new Date(one.timeMs).toISOString().slice(11, 23)} g${one.generation} step ${one.step} ${one.code}: ${one.sentence}`,
    );
  const logs = join(shardwright.dataDir, "runs", uid, "logs");
  const members = existsSync(logs)
    ? readdirSync(logs).map((file) => `-- ${file}\n${lastLines(join(logs, file), 30)}`)
    : [];
  return [
    `seed ${schedule.seed} failed; again: SHARDWRIGHT_CHAOS_SEEDS=${schedule.seed}`,
    JSON.stringify(schedule, undefined, 1),
    `job: ${JSON.stringify(tap.job(name))}`,
    `processes: ${JSON.stringify(processesOf(uid))}`,
    ...events,
    ...members,
    "-- up.log",
    lastLines(join(shardwright.dataDir, "up.log"), 200),
  ].join("\n");
}

function lastLines(path: string, count: number): string {
  if (!existsSync(path)) return "(none)";
  return readFileSync(path, "utf8").trimEnd().split("\n").slice(-count).join("\n");
}
