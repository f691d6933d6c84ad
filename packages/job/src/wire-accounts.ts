/** The books of a job on the wire. A name that only one side knows is left out: that side is older. */
import type { JobLedger, JobMeasure, JobTallies, NamedCount } from "@shardwright/proto";
import {
  forEach,
  INTERRUPTION_CAUSES,
  LEDGER_CATEGORIES,
  type LedgerView,
  type MeasureView,
  NO_LEDGER,
  RECOVERY_KINDS,
  SAVE_FAILURES,
  STEP_SECTIONS,
  type TalliesView,
} from "./accounts.ts";
import { count } from "./wire-plan.ts";

export function ledgerToWire(ledger: LedgerView): JobLedger {
  return {
    entries: LEDGER_CATEGORIES.map((category) => {
      const { ms, openRanks } = ledger.byCategory[category];
      return { category, rankMilliseconds: BigInt(ms), openRanksCount: openRanks };
    }),
    heldRankMilliseconds: BigInt(ledger.heldMs),
    unsettledRankMilliseconds: BigInt(ledger.unsettledMs),
    trainingRanksCount: ledger.trainingRanks,
    bookedTime: new Date(ledger.bookedMs),
  };
}

/** Throws a RangeError for times beyond 2^53 ms. */
export function ledgerFromWire(ledger: JobLedger | undefined): LedgerView {
  if (ledger === undefined) return NO_LEDGER;
  return {
    byCategory: forEach(LEDGER_CATEGORIES, (name) => {
      const entry = ledger.entries.find(({ category }) => category === name);
      return { ms: count(entry?.rankMilliseconds ?? 0n), openRanks: entry?.openRanksCount ?? 0 };
    }),
    heldMs: count(ledger.heldRankMilliseconds),
    unsettledMs: count(ledger.unsettledRankMilliseconds),
    trainingRanks: ledger.trainingRanksCount,
    bookedMs: ledger.bookedTime?.getTime() ?? 0,
  };
}

export function talliesToWire(tallies: TalliesView): JobTallies {
  return {
    interruptions: countsToWire(tallies.interruptions),
    recoveries: countsToWire(tallies.recoveries),
    saveFailures: countsToWire(tallies.saveFailures),
    savesCount: BigInt(tallies.saves),
    lastSaveBytes: BigInt(tallies.lastSave?.bytes ?? 0),
    lastSaveSeconds: tallies.lastSave?.seconds ?? 0,
    movedBytes: BigInt(tallies.movedBytes),
  };
}

export function talliesFromWire(tallies: JobTallies | undefined): TalliesView {
  const saves = count(tallies?.savesCount ?? 0n);
  return {
    interruptions: countsFromWire(INTERRUPTION_CAUSES, tallies?.interruptions),
    recoveries: countsFromWire(RECOVERY_KINDS, tallies?.recoveries),
    saveFailures: countsFromWire(SAVE_FAILURES, tallies?.saveFailures),
    saves,
    lastSave:
      saves === 0
        ? null
        : {
            bytes: count(tallies?.lastSaveBytes ?? 0n),
            seconds: tallies?.lastSaveSeconds ?? 0,
          },
    movedBytes: count(tallies?.movedBytes ?? 0n),
  };
}

export function measureToWire(measure: MeasureView): JobMeasure {
  return {
    stepsCount: BigInt(measure.steps),
    seconds: measure.seconds,
    sections: STEP_SECTIONS.map((name) => ({ name, seconds: measure.sections[name] })),
    stallSeconds: measure.stallSeconds,
    peakBytes: BigInt(measure.peakBytes),
  };
}

export function measureFromWire(measure: JobMeasure): MeasureView {
  return {
    steps: count(measure.stepsCount),
    seconds: measure.seconds,
    sections: forEach(
      STEP_SECTIONS,
      (name) => measure.sections.find((section) => section.name === name)?.seconds ?? 0,
    ),
    stallSeconds: measure.stallSeconds,
    peakBytes: count(measure.peakBytes),
  };
}

function countsToWire(counts: Readonly<Record<string, number>>): NamedCount[] {
  return Object.entries(counts).map(([name, value]) => ({ name, count: BigInt(value) }));
}

function countsFromWire<Name extends string>(
  names: readonly Name[],
  counts: readonly NamedCount[] | undefined,
): Readonly<Record<Name, number>> {
  return forEach(names, (name) => count(counts?.find((entry) => entry.name === name)?.count ?? 0n));
}
