import { setTimeout as sleep } from "node:timers/promises";
import { isFinal, type JobView } from "@shardwright/job/phase";
import type { Kill } from "../chaos/schedule.ts";
import { strike } from "../chaos/strike.ts";
import { memberVictim, rankVictim, type Victim } from "../chaos/victim.ts";
import { watchJob } from "../follow.ts";
import type { Jobs } from "../rpc/jobs.ts";

// While the last kill is repaired nobody may be there to be killed.
const TRIES_MAX = 300;
const TRY_MS = 100;

/** A kill that was made. */
export interface Made {
  /** Steps done when it was due. */
  readonly step: number;
  readonly victim: string;
  readonly pids: readonly number[];
}

export interface DisturbOptions {
  readonly schedule: readonly Kill[];
  /** Of the undisturbed run, for the place of a kill inside a step. */
  readonly stepSeconds: number;
  readonly signal: AbortSignal;
  say(line: string): void;
}

/** Kills as scheduled while the job trains; returns what was done, which is less when the job ends first. */
export async function disturb(
  jobs: Jobs,
  name: string,
  options: DisturbOptions,
): Promise<readonly Made[]> {
  const made: Made[] = [];
  for (const kill of options.schedule) {
    const job = await untilStep(jobs, name, kill.step, options.signal);
    if (job === null) return made;
    await sleep(kill.stepShare * options.stepSeconds * 1000);
    const done = await make(jobs, job, kill, options.signal);
    if (done === null) return made;
    options.say(
      `kill ${made.length + 1} of ${options.schedule.length} at step ${done.step}: ${done.victim} (${done.pids.length === 1 ? "pid" : "pids"} ${done.pids.join(", ")})`,
    );
    made.push(done);
  }
  return made;
}

/** The job once it has done so many steps; null when it ended or the time was over before. */
async function untilStep(
  jobs: Jobs,
  name: string,
  step: number,
  signal: AbortSignal,
): Promise<JobView | null> {
  // The follower of the job says what happens to the connection; once is enough.
  for await (const job of watchJob(jobs, name, { say: () => undefined, signal })) {
    if (job === null || isFinal(job.status.state)) return null;
    if ((job.status.progress?.step ?? 0) >= step) return job;
  }
  return null;
}

async function make(
  jobs: Jobs,
  job: JobView,
  kill: Kill,
  signal: AbortSignal,
): Promise<Made | null> {
  for (let tries = 0; tries < TRIES_MAX && !signal.aborted; tries++) {
    const now = await jobs.get(job.name);
    if (isFinal(now.status.state)) return null;
    const victim = await victimOf(jobs, job, kill);
    const done = victim === null ? null : strike(victim, "SIGKILL");
    if (victim !== null && done?.struck) {
      return { step: now.status.progress?.step ?? 0, victim: victim.label, pids: done.pids };
    }
    await sleep(TRY_MS);
  }
  return null;
}

async function victimOf(jobs: Jobs, job: JobView, kill: Kill): Promise<Victim | null> {
  const members = await jobs.members(job.name);
  return kill.prey === "rank" ? rankVictim(members, kill) : memberVictim(members, job.uid, kill);
}
