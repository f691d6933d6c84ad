/** What people read of a job, projected from its state. Nothing is decided from it. */

import {
  forEach,
  type JobCondition,
  type JobStatusView,
  LEDGER_CATEGORIES,
  type LedgerView,
  type MembershipView,
  NO_RECOVERIES,
  NO_TALLIES,
  type ProgressView,
  type Reason,
  type JobState as ShownState,
  type TalliesView,
  withCondition,
} from "@shardwright/job";
import { totalOf } from "./ledger.ts";
import type { OpenCategory } from "./ledger-account.ts";
import { type JobState, type Live, liveOf } from "./state.ts";

export function projectStatus(state: JobState, before: JobStatusView, now: number): JobStatusView {
  const live = liveOf(state);
  const { recoveries } = live ?? {};
  return {
    state: shownState(state),
    reason: state.reason,
    conditions: conditionsOf(state, before.conditions, now),
    plan: live?.plan ?? state.submittedPlan,
    membership: live === null ? null : membershipOf(live),
    progress: live === null ? null : progressOf(live),
    recoveries:
      recoveries === undefined
        ? NO_RECOVERIES
        : {
            count: recoveries.count,
            stepsRedone: recoveries.stepsRedone,
            last:
              recoveries.count === 0
                ? null
                : { cause: recoveries.lastCause, seconds: recoveries.lastSeconds },
          },
    checkpoint: live?.lastCommit ?? null,
    result: state.phase === "complete" ? state.result : null,
    evaluations: before.evaluations,
    ledger: ledgerOf(state),
    tallies: talliesOf(state),
    measure: live?.progress?.measured ?? null,
  };
}

function ledgerOf({ ledger }: JobState): LedgerView {
  const { totals, held, unsettled, partial } = totalOf(ledger);
  const ranksIn = (category: OpenCategory): number =>
    ledger.open.reduce((sum, { ranks }) => sum + (ranks[category] ?? 0), 0);
  return {
    byCategory: forEach(LEDGER_CATEGORIES, (name) => ({
      ms: totals[name] ?? 0,
      openRanks: ranksIn(name),
    })),
    heldMs: held,
    unsettledMs: unsettled + partial,
    trainingRanks: ranksIn("training"),
    bookedMs: ledger.bookedMs,
  };
}

function talliesOf({ tallies }: JobState): TalliesView {
  const { interruptions, recoveries, saveFailures, saves, lastSave, movedBytes } = tallies;
  return {
    interruptions: { ...NO_TALLIES.interruptions, ...interruptions },
    recoveries: { ...NO_TALLIES.recoveries, ...recoveries },
    saveFailures: { ...NO_TALLIES.saveFailures, ...saveFailures },
    saves,
    lastSave,
    movedBytes,
  };
}

function shownState(state: JobState): ShownState {
  switch (state.phase) {
    case "queued":
      return "Queued";
    case "active":
      if (state.live.committed === null) return "Starting";
      return state.live.committed.mode === "running" ? "Running" : "Resharding";
    case "finishing":
      return "Running";
    case "complete":
      return "Complete";
    case "failed":
      return "Failed";
    case "cancelled":
      return "Cancelled";
    default:
      return state satisfies never;
  }
}

function membershipOf(live: Live): MembershipView {
  const seats = live.committed?.seats ?? [];
  return {
    generation: live.committed?.number ?? 0,
    running: new Set(seats.map(({ member }) => member)).size,
    wanted: live.members.length,
    ranks: seats.length,
  };
}

function progressOf(live: Live): ProgressView | null {
  const { progress, facts, step } = live;
  if (facts === null) return null;
  const { totalSteps } = facts;
  if (progress === null) {
    return {
      step,
      totalSteps,
      loss: Number.NaN,
      gradNorm: Number.NaN,
      learningRate: 0,
      tokensPerSecond: 0,
      trainedTokens: 0,
      processedTokens: 0,
      stepSeconds: 0,
      etaMs: null,
      lastStepMs: null,
    };
  }
  return {
    step,
    totalSteps,
    loss: progress.loss,
    gradNorm: progress.gradNorm,
    learningRate: progress.learningRate,
    tokensPerSecond: progress.tokensPerSecond,
    trainedTokens: progress.trainedTokens,
    processedTokens: progress.processedTokens,
    stepSeconds: progress.seconds,
    etaMs: progress.atMs + Math.round((totalSteps - step) * progress.meanSeconds * 1000),
    lastStepMs: progress.atMs,
  };
}

function conditionsOf(
  state: JobState,
  before: readonly JobCondition[],
  now: number,
): readonly JobCondition[] {
  const say = (type: JobCondition["type"], holds: boolean, reason: Reason): JobCondition => ({
    type,
    status: holds ? "True" : "False",
    reason,
    lastTransitionMs: now,
  });
  const live = liveOf(state);
  const next: JobCondition[] = [
    say("Admitted", live !== null || state.phase !== "queued", state.reason),
  ];
  if (live !== null) {
    next.push(say("Running", shownState(state) === "Running", state.reason));
    next.push(say("Progressing", live.step > 0 && live.fault === null, state.reason));
  }
  if (live?.lastCommit != null) {
    const sentence = `step ${live.lastCommit.step} is committed as ${live.lastCommit.commit}`;
    next.push(say("Checkpointed", true, { code: "CheckpointCommitted", sentence }));
  }
  if (state.phase === "complete") next.push(say("Complete", true, state.reason));
  if (state.phase === "failed") next.push(say("Failed", true, state.reason));
  if (state.phase === "cancelled") next.push(say("Cancelled", true, state.reason));
  return next.reduce(withCondition, before);
}
