import { isFinal, type JobView } from "@shardwright/job";
import { type MemberFact, type Sample, samplesOf } from "./samples.ts";

/** The jobs whose series are shown now. */
export interface Board {
  /** A job as it is now. True when its members have to be asked for: its generation is new. */
  put(job: JobView): boolean;
  /** Its members, as join targets. */
  putMembers(job: JobView, members: readonly MemberFact[]): void;
  /** The job was deleted: its series go after the grace. */
  drop(tenant: string, name: string): void;
  /** Only these jobs exist: what a watch that starts anew has learnt. */
  keepOnly(tenant: string, names: ReadonlySet<string>): void;
  /** Every sample of every job that is shown; forgets jobs whose grace is over. */
  samples(): readonly Sample[];
}

/** How long the series of an ended or deleted job stay, so that the last scrape sees its end. */
export const GRACE_MS = 300_000;
// Steps that the stall threshold looks at.
const STEPS_KEPT = 100;

interface Entry {
  job: JobView;
  members: readonly MemberFact[];
  /** The generation whose members these are; 0 for none. */
  membersOf: number;
  readonly stepSeconds: number[];
  /** When it was deleted or first seen at its end. */
  endedMs: number | null;
}

export function createBoard(now: () => number): Board {
  const entries = new Map<string, Entry>();
  const keyOf = (tenant: string, name: string): string => `${tenant}/${name}`;
  const drop = (tenant: string, name: string): void => {
    const entry = entries.get(keyOf(tenant, name));
    if (entry !== undefined) entry.endedMs ??= now();
  };
  return {
    put: (job) => {
      const key = keyOf(job.tenant, job.name);
      const known = entries.get(key);
      // A job of the same name with another uid is another job: nothing of the old one is carried over.
      const isSame = known?.job.uid === job.uid;
      const entry = isSame
        ? known
        : { job, members: [], membersOf: 0, stepSeconds: [], endedMs: null };
      rememberStep(entry, job, isSame);
      entry.job = job;
      entry.endedMs = isFinal(job.status.state) ? (entry.endedMs ?? now()) : null;
      entries.set(key, entry);
      const generation = job.status.membership?.generation ?? 0;
      return generation > 0 && entry.endedMs === null && entry.membersOf !== generation;
    },
    putMembers: (job, members) => {
      const entry = entries.get(keyOf(job.tenant, job.name));
      if (entry?.job.uid !== job.uid) return;
      entry.members = members;
      entry.membersOf = job.status.membership?.generation ?? 0;
    },
    drop,
    keepOnly: (tenant, names) => {
      for (const { job } of entries.values()) {
        if (job.tenant === tenant && !names.has(job.name)) drop(tenant, job.name);
      }
    },
    samples: () => {
      const at = now();
      for (const [key, { endedMs }] of entries) {
        if (endedMs !== null && at - endedMs > GRACE_MS) entries.delete(key);
      }
      return [...entries.values()].flatMap((entry) => samplesOf(entry.job, entry, at));
    },
  };
}

/** Notes the duration of a step that was not seen before. */
function rememberStep(entry: Entry, job: JobView, isSame: boolean): void {
  const { progress } = job.status;
  if (progress === null || progress.step === 0) return;
  if (isSame && entry.job.status.progress?.step === progress.step) return;
  entry.stepSeconds.push(progress.stepSeconds);
  if (entry.stepSeconds.length > STEPS_KEPT) entry.stepSeconds.shift();
}
