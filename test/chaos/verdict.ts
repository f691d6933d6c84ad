/** What must be true of a job that was disturbed; every violation in words, none when all is well. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Embedded, hashesOf, type JobObject, ROOT, run } from "../e2e/harness.ts";
import type { Arena, Disturbed } from "./arena.ts";
import { type Consumed, digestOf, firstDifference, plannedRows } from "./ledger.ts";
import type { Schedule } from "./schedule.ts";
import { stagedFiles } from "./tap.ts";
import { processesOf } from "./victims.ts";

export type Hashes = ReturnType<typeof hashesOf>;

export interface Case {
  readonly arena: Arena;
  readonly name: string;
  readonly schedule: Schedule;
  /** Of the undisturbed run of the same job. */
  readonly expected: Hashes;
  readonly disturbed: Disturbed;
}

/** Causes a fault can have; another word is one that no rule and no budget knows. */
export const CAUSES: ReadonlySet<string> = new Set([
  "user_error",
  "oom",
  "communication",
  "killed",
  "hang",
  "unknown",
  "node",
  "preempted",
  "storage",
  "restart",
]);

// Agents end their ranks and themselves after a Stop; what does not is killed after 15 s.
const GONE_MS_MAX = 20_000;
const GONE_POLL_MS = 200;
/** As `tinyJob` has them. */
const LANES = 8;
const SEED = 7;

/** Of a job that is complete. */
export async function violationsOf(about: Case): Promise<readonly string[]> {
  const { arena, name } = about;
  const job = await arena.embedded.job(name);
  return [
    ...bitsDiffer(job, about.expected),
    ...(await dataDiffers(job, about)),
    ...(await checkpointsTorn(arena.embedded, name)),
    ...(await faultsUntold(about)),
    ...(await leftovers(job.metadata.uid)),
  ];
}

function bitsDiffer(job: JobObject, expected: Hashes): readonly string[] {
  const found = hashesOf(job);
  return (["weightsSha256", "stateSha256", "consumedSha256"] as const)
    .filter((hash) => found[hash] !== expected[hash])
    .map((hash) => `${hash} is ${found[hash]}, of the undisturbed run ${expected[hash]}`);
}

async function dataDiffers(job: JobObject, { arena, schedule }: Case): Promise<readonly string[]> {
  const data = readFileSync(join(arena.folder, "data/train.jsonl"), "utf8");
  const examples = data.trimEnd().split("\n").length;
  const { steps } = schedule;
  const planned = plannedRows({ seed: SEED, examples, lanes: LANES, steps });
  const found = await consumedRows(arena.embedded, job.metadata.uid);
  const difference = firstDifference(planned, found);
  const digest = digestOf(planned);
  return [
    ...(difference === null ? [] : [`data ledger, ${difference}`]),
    ...(hashesOf(job).consumedSha256 === digest
      ? []
      : [`consumedSha256 is not that of the plan, ${digest}`]),
  ];
}

/** Every row of the journal, in (step, lane) order. */
export async function consumedRows(embedded: Embedded, uid: string): Promise<readonly Consumed[]> {
  const script = join(ROOT, "test/chaos/rows.mjs");
  const database = join(embedded.dataDir, "control-plane.sqlite");
  const ran = await run(join(ROOT, "node_modules/.bin/node"), [script, database, uid], {
    env: { NODE_NO_WARNINGS: "1" },
  });
  if (ran.code !== 0) throw new Error(ran.stderr);
  return ran.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Consumed);
}

/** What is listed as committed is whole; a job that is complete has at least its last step. */
async function checkpointsTorn(embedded: Embedded, name: string): Promise<readonly string[]> {
  const listed = await embedded.json<{ items: { commit: string; status: string }[] }>(
    "checkpoints",
    "list",
    name,
  );
  const committed = listed.items.filter(({ status }) => status === "committed");
  const found: string[] = committed.length > 0 ? [] : ["no committed checkpoint is left"];
  for (const { commit } of committed) {
    const ran = await embedded.ctl("checkpoints", "verify", name, commit, "--level", "full");
    if (ran.code !== 0) found.push(`checkpoint ${commit}: ${ran.stdout}${ran.stderr}`);
  }
  return found;
}

interface GenerationView {
  readonly generation: number;
  readonly reason: string;
  readonly sentence: string;
}

/** Generations only go up, and each that lost a rank is followed by one that says why, with a cause we know. */
async function faultsUntold({ arena, name, disturbed }: Case): Promise<readonly string[]> {
  const { items } = await arena.embedded.json<{ items: GenerationView[] }>(
    "get",
    "generations",
    name,
  );
  const numbers = items.map(({ generation }) => Number(generation));
  const found: string[] = [];
  if (numbers.some((number, at) => at > 0 && number <= (numbers[at - 1] ?? 0)))
    found.push(`generations do not go up: ${numbers.join(", ")}`);
  for (const hit of disturbed.hit) {
    const after = items.find(({ generation }) => Number(generation) > hit);
    if (after === undefined) found.push(`generation ${hit} lost a rank and none followed`);
    else if (after.reason !== "RankLost" && after.reason !== "Restarted")
      found.push(`generation ${hit} lost a rank; the next says ${after.reason}: ${after.sentence}`);
  }
  const told = arena.tap.eventsOf(name).filter(({ code }) => code === "Fault" || code === "Hang");
  if (disturbed.hit.size > 0 && told.length === 0) found.push("no event tells of a fault");
  const unknown = [...arena.tap.faultsOf(name)].filter((cause) => !CAUSES.has(cause));
  return [...found, ...unknown.map((cause) => `the cause "${cause}" is not one of ours`)];
}

async function leftovers(uid: string): Promise<readonly string[]> {
  const until = Date.now() + GONE_MS_MAX;
  while (processesOf(uid).length > 0 && Date.now() < until) await sleep(GONE_POLL_MS);
  return [
    ...processesOf(uid).map((one) => `still lives: ${JSON.stringify(one)}`),
    ...stagedFiles(uid).map((file) => `still in memory: ${file}`),
  ];
}
