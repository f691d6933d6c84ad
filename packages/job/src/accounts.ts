/** The books of a job as readers see them: where its held time went, what happened to it, what its steps took. */

/** What a held rank does; each of its milliseconds ends up in exactly one of these. */
export const LEDGER_CATEGORIES = [
  /** Ready, and waits for members that nobody has heard yet: the gang is not complete. */
  "queued_held",
  /** Process start, import, model, data; a joiner until it is in a generation. */
  "starting",
  /** Computing a step that a checkpoint, or the end of the job, has settled. */
  "productive",
  /** Computing a step, or part of one, that had to be computed again, or that came to nothing. */
  "redone",
  /** Training blocked by a save or a restore. */
  "checkpoint_stall",
  /** From the verdict that a generation is over to the commit of the next. */
  "resharding",
  /** From the last progress to the verdict, where a hang or a lost member stopped it: detection time. */
  "hung",
  /** Nothing to do: after the end, until it is released. */
  "idle",
] as const;
export type LedgerCategory = (typeof LEDGER_CATEGORIES)[number];

export const INTERRUPTION_CAUSES = [
  "error",
  "oom",
  "communication",
  "hang",
  "node",
  "storage",
  "preempted",
] as const;
export type InterruptionCause = (typeof INTERRUPTION_CAUSES)[number];

export const RECOVERY_KINDS = [
  /** Back to copies in the agents' memory, and the steps after them again. */
  "snapshot",
  /** The ranks that were left went on alone. */
  "survivors",
  /** A rank process was started again by its agent. */
  "respawn",
  /** A member was started again. */
  "pod",
  /** State was read from a checkpoint. */
  "checkpoint",
] as const;
export type RecoveryKind = (typeof RECOVERY_KINDS)[number];

/** Reasons of failed saves that are told apart; all others are counted together. */
export const SAVE_FAILURES = [
  "deadline",
  "generation_ended",
  "storage",
  "writer_lost",
  "other",
] as const;
export type SaveFailure = (typeof SAVE_FAILURES)[number];

/** Parts of a step, in the order of the trainer's stopwatch. */
export const STEP_SECTIONS = [
  "data",
  "forward_backward",
  "reduce",
  "optimizer",
  "gather",
  "other",
] as const;
export type StepSection = (typeof STEP_SECTIONS)[number];

/** Held time in rank-milliseconds: the categories and `unsettledMs` sum to `heldMs`, exactly. */
export interface LedgerView {
  readonly byCategory: Readonly<Record<LedgerCategory, LedgerEntryView>>;
  readonly heldMs: number;
  /** Training that no checkpoint covers yet: it becomes productive or redone. */
  readonly unsettledMs: number;
  /** Ranks that train since `bookedMs`. */
  readonly trainingRanks: number;
  /** Everything up to here is booked (Unix ms). */
  readonly bookedMs: number;
}

export interface LedgerEntryView {
  readonly ms: number;
  /** Ranks that are in this category since `bookedMs`. */
  readonly openRanks: number;
}

/** Counts since the job was submitted. */
export interface TalliesView {
  readonly interruptions: Readonly<Record<InterruptionCause, number>>;
  readonly recoveries: Readonly<Record<RecoveryKind, number>>;
  readonly saveFailures: Readonly<Record<SaveFailure, number>>;
  readonly saves: number;
  /** Of the last committed save; null before it. */
  readonly lastSave: { readonly bytes: number; readonly seconds: number } | null;
  readonly movedBytes: number;
}

/** What steps really took, each counted once by its slowest rank. */
export interface MeasureView {
  readonly steps: number;
  readonly seconds: number;
  readonly sections: Readonly<Record<StepSection, number>>;
  readonly stallSeconds: number;
  /** Largest resident size of a rank process. */
  readonly peakBytes: number;
}

/** A record with a value for every name of a closed set. */
export function forEach<Name extends string, Value>(
  names: readonly Name[],
  valueFor: (name: Name) => Value,
): Readonly<Record<Name, Value>> {
  return Object.fromEntries(names.map((name) => [name, valueFor(name)])) as Record<Name, Value>;
}

export const NO_LEDGER: LedgerView = {
  byCategory: forEach(LEDGER_CATEGORIES, () => ({ ms: 0, openRanks: 0 })),
  heldMs: 0,
  unsettledMs: 0,
  trainingRanks: 0,
  bookedMs: 0,
};

export const NO_TALLIES: TalliesView = {
  interruptions: forEach(INTERRUPTION_CAUSES, () => 0),
  recoveries: forEach(RECOVERY_KINDS, () => 0),
  saveFailures: forEach(SAVE_FAILURES, () => 0),
  saves: 0,
  lastSave: null,
  movedBytes: 0,
};

/** The ledger as it will be when the intervals that are open end at `nowMs` as they are. */
export function ledgerAt(ledger: LedgerView, nowMs: number): LedgerView {
  const spent = Math.max(0, nowMs - ledger.bookedMs);
  const open = Object.values(ledger.byCategory).reduce((sum, { openRanks }) => sum + openRanks, 0);
  if (open + ledger.trainingRanks === 0) return ledger;
  return {
    ...ledger,
    byCategory: forEach(LEDGER_CATEGORIES, (name) => {
      const { ms, openRanks } = ledger.byCategory[name];
      return { ms: ms + spent * openRanks, openRanks };
    }),
    heldMs: ledger.heldMs + spent * (open + ledger.trainingRanks),
    unsettledMs: ledger.unsettledMs + spent * ledger.trainingRanks,
    bookedMs: ledger.bookedMs + spent,
  };
}

/** Productive ÷ held, unsettled training counted as productive; null while nothing was held. */
export function goodputOf({ byCategory, heldMs, unsettledMs }: LedgerView): number | null {
  return heldMs === 0 ? null : (byCategory.productive.ms + unsettledMs) / heldMs;
}
