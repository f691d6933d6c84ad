import type { Meter } from "@shardwright/service";
import { movedBytes } from "./core/prepared.ts";
import { type Live, liveOf } from "./core/state.ts";
import type { JobRecord } from "./ports.ts";

/** What one scheduler cycle came to. */
export interface CycleFacts {
  readonly seconds: number;
  readonly placed: number;
  /** Codes of the reasons of those that wait on. */
  readonly waits: readonly string[];
  /** Jobs by queue. */
  readonly queues: ReadonlyMap<string, { readonly pending: number; readonly admitted: number }>;
}

/** Tells the meter what happened: distributions, and what belongs to no one job. Totals of a job are in its status. */
export interface Measures {
  /** After a decision was saved. */
  decided(before: JobRecord, after: JobRecord, now: number): void;
  /** Steps of a job that were recorded, in seconds. */
  stepped(job: Named, seconds: readonly number[]): void;
  cycled(facts: CycleFacts): void;
  /** The job is deleted: its series go. */
  removed(job: Named): void;
  /** Forgets the series of jobs that are over for longer than the grace. */
  sweep(now: number): void;
}

type Named = Pick<JobRecord, "tenant" | "name">;

/** How long the series of an ended job stay, so that the last scrape sees its end. */
export const SERIES_GRACE_MS = 300_000;

export function createMeasures(meter: Meter): Measures {
  /** Jobs that are over and still have series, and since when. */
  const ended = new Map<string, { readonly job: Named; readonly sinceMs: number }>();
  const forget = (job: Named): void => {
    ended.delete(keyOf(job));
    meter.remove("shardwright_train_step_duration_seconds", labelsOf(job));
  };
  return {
    decided: (before, after, now) => {
      const was = liveOf(before.state);
      const is = liveOf(after.state);
      if (was === null && is !== null) observeWait(meter, after, now);
      if (was !== null && is !== null) {
        observeGeneration(meter, was, is);
        observeRecovery(meter, after, { was, is });
        observeSaves(meter, before, after);
      }
      if (before.finishedMs === null && after.finishedMs !== null)
        ended.set(keyOf(after), { job: after, sinceMs: now });
    },
    stepped: (job, seconds) => {
      for (const one of seconds)
        meter.observe("shardwright_train_step_duration_seconds", labelsOf(job), one);
    },
    cycled: ({ seconds, placed, waits, queues }) => {
      meter.observe("shardwright_scheduler_cycle_duration_seconds", {}, seconds);
      meter.add("shardwright_scheduler_attempts_total", { result: "placed" }, placed);
      meter.add("shardwright_scheduler_attempts_total", { result: "waiting" }, waits.length);
      for (const reason of waits) meter.add("shardwright_scheduler_waits_total", { reason });
      meter.reset("shardwright_queue_jobs");
      for (const [queue, { pending, admitted }] of queues) {
        meter.set("shardwright_queue_jobs", { queue, status: "pending" }, pending);
        meter.set("shardwright_queue_jobs", { queue, status: "admitted" }, admitted);
      }
    },
    removed: forget,
    sweep: (now) => {
      for (const { job, sinceMs } of [...ended.values()]) {
        if (now - sinceMs > SERIES_GRACE_MS) forget(job);
      }
    },
  };
}

function keyOf({ tenant, name }: Named): string {
  return `${tenant}/${name}`;
}

function labelsOf({ tenant, name }: Named): { job_namespace: string; job_name: string } {
  return { job_namespace: tenant, job_name: name };
}

function observeWait(meter: Meter, { createdMs, state }: JobRecord, now: number): void {
  const seconds = Math.max(0, now - createdMs) / 1000;
  meter.observe("shardwright_queue_wait_seconds", { queue: state.spec.queue }, seconds);
}

function observeGeneration(meter: Meter, was: Live, { committed }: Live): void {
  if (committed === null || committed.number === was.committed?.number) return;
  const reason = committed.reason.code;
  meter.add("shardwright_generation_changes_total", { reason });
  meter.add("shardwright_transfer_bytes_total", { reason }, movedBytes(committed.source));
}

function observeRecovery(
  meter: Meter,
  { state }: JobRecord,
  { was, is }: { readonly was: Live; readonly is: Live },
): void {
  if (is.recoveries.count <= was.recoveries.count) return;
  // A fault that needed no other generation was over by itself.
  const kind = state.tallies.lastRecovery ?? "survivors";
  meter.observe("shardwright_recovery_duration_seconds", { kind }, is.recoveries.lastSeconds);
}

function observeSaves(meter: Meter, before: JobRecord, after: JobRecord): void {
  const was = before.state.tallies;
  const is = after.state.tallies;
  if (is.saves > was.saves && is.lastSave !== null) {
    const { seconds } = is.lastSave;
    meter.observe("shardwright_checkpoint_save_duration_seconds", {}, seconds);
  }
}
