/** What happened to a job, counted: a pure function of its decisions, kept with its state, so that no restart resets it. */

import {
  type InterruptionCause,
  type RecoveryKind,
  SAVE_FAILURES,
  type SaveFailure,
} from "@shardwright/job/accounts";
import { budgetOf, RESTART } from "./failure.ts";
import { movedBytes } from "./prepared.ts";
import { type CommittedGeneration, type JobState, type Live, liveOf } from "./state.ts";

/** A periodic save that was due while an older one was still written: left out on purpose. */
const SKIPPED = "skipped";

type Counts<Name extends string> = Readonly<Partial<Record<Name, number>>>;

export interface Tallies {
  /** Counted when they are over: only then is the cause known for certain. */
  readonly interruptions: Counts<InterruptionCause>;
  readonly recoveries: Counts<RecoveryKind>;
  /** Kind of the generation that recovers from the running fault. */
  readonly lastRecovery: RecoveryKind | null;
  /** Optimizer state that went from rank to rank between generations. */
  readonly movedBytes: number;
  readonly saveFailures: Counts<SaveFailure>;
  readonly saves: number;
  readonly lastSave: { readonly bytes: number; readonly seconds: number } | null;
  /** Bytes that writers have reported of a save that is not committed yet. */
  readonly written: { readonly saveId: string; readonly bytes: number } | null;
}

export const NOTHING_TALLIED: Tallies = {
  interruptions: {},
  recoveries: {},
  lastRecovery: null,
  movedBytes: 0,
  saveFailures: {},
  saves: 0,
  lastSave: null,
  written: null,
};

/** The tallies after a decision. */
export function tallyDecision(before: JobState, after: JobState, now: number): Tallies {
  const was = liveOf(before);
  const is = liveOf(after);
  if (was === null || is === null) return before.tallies;
  let tallies = tallyWritten(before.tallies, before, after);
  tallies = tallySave(tallies, was, is, now);
  tallies = tallyGeneration(tallies, was, is);
  return tallyInterruption(tallies, was, after);
}

function tallyWritten(tallies: Tallies, before: JobState, after: JobState): Tallies {
  if (before.effects === after.effects) return tallies;
  const known = new Set(before.effects.map(({ id }) => id));
  let { written } = tallies;
  for (const effect of after.effects) {
    if (effect.kind !== "reportPrepared" || known.has(effect.id)) continue;
    const { saveId } = effect.key;
    const bytes = written?.saveId === saveId ? written.bytes : 0;
    written = { saveId, bytes: bytes + effect.prepared.bytes };
  }
  return written === tallies.written ? tallies : { ...tallies, written };
}

function tallySave(tallies: Tallies, was: Live, is: Live, now: number): Tallies {
  if (is.lastCommit !== null && is.lastCommit.commit !== was.lastCommit?.commit) {
    const seconds = was.save === null ? 0 : (now - was.save.sinceMs) / 1000;
    const lastSave = { bytes: tallies.written?.bytes ?? 0, seconds };
    return { ...tallies, saves: tallies.saves + 1, lastSave, written: null };
  }
  const failed = is.decidedSaves.filter(
    (one) => one.status === "aborted" && one.why !== SKIPPED && !was.decidedSaves.includes(one),
  );
  if (failed.length === 0) return tallies;
  const saveFailures = failed.reduce(
    (counts, { why }) => withOne(counts, failureOf(why)),
    tallies.saveFailures,
  );
  return { ...tallies, saveFailures };
}

function failureOf(why: string): SaveFailure {
  return SAVE_FAILURES.find((known) => known === why) ?? "other";
}

function tallyGeneration(tallies: Tallies, was: Live, is: Live): Tallies {
  const { committed } = is;
  if (committed === null || committed.number === was.committed?.number) return tallies;
  const moved = tallies.movedBytes + movedBytes(committed.source);
  const next = { ...tallies, movedBytes: moved };
  if (is.fault === null || was.committed === null) return next;
  const kind = recoveryKind(was.committed, committed);
  return { ...next, recoveries: withOne(next.recoveries, kind), lastRecovery: kind };
}

function recoveryKind(was: CommittedGeneration, is: CommittedGeneration): RecoveryKind {
  if (is.source.kind === "snapshot") return "snapshot";
  if (is.source.kind !== "live") return "checkpoint";
  const isNew = is.seats.some(({ member, incarnation }) =>
    was.seats.some((seat) => seat.member === member && seat.incarnation < incarnation),
  );
  if (isNew) return "pod";
  const pids = new Set(was.seats.map(({ pid }) => pid));
  return is.seats.every(({ pid }) => pids.has(pid)) ? "survivors" : "respawn";
}

function tallyInterruption(tallies: Tallies, was: Live, after: JobState): Tallies {
  if (was.fault === null || was.fault.cause === RESTART) return tallies;
  const isOver = after.phase !== "active" || after.live.fault === null;
  if (!isOver) return tallies;
  return { ...tallies, interruptions: withOne(tallies.interruptions, causeOf(was.fault.cause)) };
}

function causeOf(cause: string): InterruptionCause {
  return cause === "preempted" ? cause : (budgetOf(cause) ?? "error");
}

function withOne<Name extends string>(counts: Counts<Name>, name: Name): Counts<Name> {
  return { ...counts, [name]: (counts[name] ?? 0) + 1 };
}
