import type { JobView } from "@shardwright/job/phase";
import { killSchedule, killsMax, type Prey, scheduleLine } from "../chaos/schedule.ts";
import { EXIT, Refusal } from "../exit.ts";
import { followJob } from "../follow.ts";
import type { Io } from "../io.ts";
import type { Jobs } from "../rpc/jobs.ts";
import { disturb, type Made } from "./disturb.ts";
import type { Variants } from "./variants.ts";
import { type Comparison, compareResults } from "./verdict.ts";

export interface ExactnessOptions {
  readonly io: Io;
  readonly kills: number;
  readonly seed: number;
  readonly prey: Prey | "any";
  /** For each of the two jobs; 0 = without end. */
  readonly timeoutMs: number;
}

/** What both runs came to. */
export interface Exactness {
  readonly undisturbed: JobView;
  readonly disturbed: JobView;
  readonly made: readonly Made[];
  readonly comparisons: readonly Comparison[];
}

/**
 * Runs the undisturbed job, then the disturbed one with its kills, and compares what they leave behind. One after the
 * other: two jobs at a time would share this machine's cores and take as long.
 */
export async function runBoth(
  jobs: Jobs,
  variants: Variants,
  options: ExactnessOptions,
): Promise<Exactness> {
  const say = sayer(options.io);
  // 1. How it should end.
  say("1 of 2: undisturbed");
  const undisturbed = await complete(jobs, variants.undisturbed, options);
  // 2. Now its length is known: when to kill what.
  const { totalSteps, stepSeconds } = undisturbed.status.progress ?? {
    totalSteps: 0,
    stepSeconds: 0,
  };
  if (options.kills > killsMax(totalSteps)) {
    throw new Refusal(EXIT.usage, `${options.kills} kills do not fit into ${totalSteps} steps`, {
      why: `at most ${killsMax(totalSteps)} do, one a step`,
      next: "fewer --kills, or more spec.train.maxSteps",
    });
  }
  const schedule = killSchedule({ ...options, totalSteps });
  say(`2 of 2: disturbed; seed ${options.seed} kills at ${scheduleLine(schedule)}`);
  // 3. The same job, and the kills.
  const stop = new AbortController();
  let made: Promise<readonly Made[]> = Promise.resolve([]);
  let disturbed: JobView;
  try {
    disturbed = await complete(jobs, variants.disturbed, options, (name) => {
      made = disturb(jobs, name, { schedule, stepSeconds, signal: stop.signal, say });
      // Awaited below; until then a failure must not end the process.
      made.catch(() => undefined);
    });
  } finally {
    stop.abort();
  }
  return {
    undisturbed,
    disturbed,
    made: await made,
    comparisons: compareResults(undisturbed, disturbed),
  };
}

/** Submits and follows one of the two; throws a Refusal with its exit code when it ends otherwise. */
async function complete(
  jobs: Jobs,
  document: object,
  { io, timeoutMs }: ExactnessOptions,
  begun: (name: string) => void = () => undefined,
): Promise<JobView> {
  const { job } = await jobs.submit(JSON.stringify(document), false);
  begun(job.name);
  const exit = await followJob(jobs, job.name, { io, timeoutMs, shown: true });
  if (exit !== EXIT.done) {
    throw new Refusal(exit, `job ${job.name} did not complete, so there is nothing to compare`, {
      next: `${io.program} explain ${job.name}`,
    });
  }
  return await jobs.get(job.name);
}

/** A line that stays, over the live line of the follower. */
function sayer(io: Io): (line: string) => void {
  return (line) => io.err(`${io.stderrIsTty ? "\r\u001b[K" : ""}${line}\n`);
}
