import { isFinal, type JobView } from "@shardwright/job/phase";
import type { Generation } from "@shardwright/proto/gen/shardwright/v1/job_service";
import { EXIT, type ExitCode } from "../exit.ts";
import { exitOf, watchJob } from "../follow.ts";
import { seconds } from "../render/duration.ts";
import { visible } from "../render/escape.ts";
import type { Jobs } from "../rpc/jobs.ts";

/** Where a job stood before the fault. */
export interface Before {
  readonly generation: number;
  readonly step: number;
  readonly stepsRedone: number;
}

export function standOf(job: JobView): Before {
  const { membership, progress, recoveries } = job.status;
  return {
    generation: membership?.generation ?? 0,
    step: progress?.step ?? 0,
    stepsRedone: recoveries.stepsRedone,
  };
}

/** What makes a job count as recovered. */
export type Goal =
  /** A process died: a later generation has done a step of its own. */
  | { readonly kind: "next generation" }
  /** Nobody needs to be replaced: one more step than `beyond` is done. */
  | { readonly kind: "next step"; readonly beyond: number };

/** Where the job trains again; `ranks` and `generation` are those of the generation that took the next step. */
export interface Recovery {
  readonly generation: number;
  readonly ranks: number;
  readonly step: number;
  readonly stepsLost: number;
}

/**
 * Pure: where the job trains again, null while it does not. `generations` are those of the job: reports of the
 * generation before may still come in after it broke, so only steps after the next one's first count.
 */
export function recoveryOf(
  job: JobView,
  before: Before,
  goal: Goal,
  generations: readonly Generation[],
): Recovery | null {
  const now = standOf(job);
  const stepsLost = now.stepsRedone - before.stepsRedone;
  if (goal.kind === "next step") {
    if (now.step <= goal.beyond) return null;
    const ranks = job.status.membership?.ranks ?? 0;
    return { generation: now.generation, ranks, step: now.step, stepsLost };
  }
  const [next] = generations
    .filter(({ generation }) => Number(generation) > before.generation)
    .sort((a, b) => Number(a.generation - b.generation));
  if (next === undefined || now.step <= Number(next.step)) return null;
  return {
    generation: Number(next.generation),
    ranks: next.worldSize,
    step: now.step,
    stepsLost,
  };
}

/** `rank 1 killed (pid 123) → generation 3 with 2 ranks, step 118, 0 steps lost, 0.6 s`. */
export function recoveryLine(
  deed: string,
  recovery: Recovery,
  told: { readonly before: Before; readonly ms: number },
): string {
  const still = recovery.generation === told.before.generation ? "still " : "";
  const parts = [
    `${still}generation ${recovery.generation} with ${count(recovery.ranks, "rank")}`,
    `step ${recovery.step}`,
    `${count(recovery.stepsLost, "step")} lost`,
    seconds(told.ms / 1000),
  ];
  return `${deed} → ${parts.join(", ")}`;
}

function count(value: number, what: string): string {
  return `${value} ${what}${value === 1 ? "" : "s"}`;
}

export interface RecoveryWatch {
  readonly name: string;
  /** What was done, for the line: `rank 1 killed (pid 123)`. */
  readonly deed: string;
  readonly before: Before;
  readonly goal: Goal;
  /** When it was done (Unix ms). */
  readonly sinceMs: number;
  readonly timeoutMs: number;
  now(): number;
  /** Messages for people. */
  say(line: string): void;
}

/** Watches the job until it has taken its next step, ended, or the time is over. The line to print, and how it went. */
export async function untilRecovered(
  jobs: Jobs,
  watch: RecoveryWatch,
): Promise<{ readonly line: string; readonly exit: ExitCode }> {
  const { name, deed, before, goal } = watch;
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), watch.timeoutMs);
  const took = (): number => watch.now() - watch.sinceMs;
  try {
    for await (const job of watchJob(jobs, name, { say: watch.say, signal: stop.signal })) {
      if (job === null)
        return { line: `${deed} → job ${name} was deleted`, exit: EXIT.jobCancelled };
      const ms = took();
      const isAsked =
        goal.kind === "next generation" && standOf(job).generation > before.generation;
      const recovery = recoveryOf(job, before, goal, isAsked ? await jobs.generations(name) : []);
      if (recovery !== null) {
        return { line: recoveryLine(deed, recovery, { before, ms }), exit: EXIT.done };
      }
      if (isFinal(job.status.state)) {
        const { state, reason } = job.status;
        const line = visible(`${deed} → job ${name} is ${state}: ${reason.sentence}`);
        return { line, exit: exitOf(job) };
      }
    }
    const line = `${deed} → no step after ${seconds(took() / 1000)}`;
    return { line, exit: EXIT.timeout };
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}
