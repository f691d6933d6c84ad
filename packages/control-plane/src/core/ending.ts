/** How a job ends: hashed and exported, or failed or cancelled; what is left to clean up. */

import type { Reason } from "@shardwright/job";
import type { JobEvent } from "./events.ts";
import { newestCommit } from "./saves.ts";
import {
  type Decision,
  type Effect,
  type In,
  type JobBase,
  type JobState,
  liveOf,
} from "./state.ts";
import { stay } from "./turn.ts";

/** What is kept of a job in every phase. */
export function baseOf(state: JobState): JobBase {
  const { uid, spec, submittedPlan, reason, effects, ledger, tallies, sinceMs } = state;
  return { uid, spec, submittedPlan, reason, effects, ledger, tallies, sinceMs };
}

/** Every rank is done: the result is hashed, exported, and the members are released. */
export function whileFinishing(state: In<"finishing">, event: JobEvent, now: number): Decision {
  if (event.kind !== "settled") return stay(state);
  const effect = state.effects.find(({ id }) => id === event.effectId);
  if (effect === undefined) return stay(state);
  const effects = state.effects.filter(({ id }) => id !== event.effectId);
  const { outcome } = event;
  if (outcome.kind === "failed" && effect.kind !== "release") {
    return end(
      { ...state, effects },
      "failed",
      { code: "ExportFailed", sentence: outcome.reason.sentence },
      now,
    );
  }
  let next: In<"finishing"> = { ...state, effects };
  if (outcome.kind === "hashes") {
    const { weightsSha256, stateSha256, consumedSha256 } = outcome;
    const exports = state.spec.export.map(
      (_, index): Effect => ({
        id: `export:${index}`,
        kind: "export",
        commit: state.commit,
        index,
      }),
    );
    next = {
      ...next,
      hashes: { weightsSha256, stateSha256, consumedSha256 },
      effects: [...effects, ...exports],
    };
  }
  if (outcome.kind === "exported" && effect.kind === "export") {
    next = {
      ...next,
      exports: next.exports.map((known, index) =>
        index === effect.index ? outcome.location : known,
      ),
    };
  }
  return completeWhenDone(next, now);
}

function completeWhenDone(state: In<"finishing">, now: number): Decision {
  const { hashes, exports, effects } = state;
  const isBusy = effects.some(({ kind }) => kind !== "erase");
  if (hashes === null || isBusy || exports.includes(null))
    return { state, told: [], generation: null };
  const artifacts = state.spec.export.map(({ format }, index) => ({
    format,
    location: exports[index] ?? "",
  }));
  const reason = {
    code: "Complete",
    sentence: `${state.live.step} steps; weights ${hashes.weightsSha256.slice(0, 12)}…`,
  };
  return {
    state: {
      ...baseOf(state),
      phase: "complete",
      live: state.live,
      result: { ...hashes, artifacts },
      reason,
      effects,
      sinceMs: now,
    },
    told: [{ reason, severity: "normal" }],
    generation: null,
  };
}

/** The job ends here; its members are released, nothing else that was wanted is wanted any more. */
export function end(
  state: JobState,
  phase: "failed" | "cancelled",
  reason: Reason,
  now: number,
): Decision {
  const live = liveOf(state);
  const left = state.effects.filter(({ kind }) => kind === "abortSave" || kind === "erase");
  const release: Effect[] = live === null ? [] : [{ id: "release", kind: "release", why: phase }];
  const begun = live?.save?.begun ?? null;
  if (begun !== null) {
    left.push({
      id: `abort:${begun.key.saveId}`,
      kind: "abortSave",
      key: begun.key,
      reason: phase,
      detail: reason.sentence,
    });
  }
  return {
    state: { ...baseOf(state), phase, live, reason, effects: [...left, ...release], sinceMs: now },
    told: [{ reason, severity: phase === "failed" ? "warning" : "normal" }],
    generation: null,
  };
}

/** Only what is still to be cleaned up matters; members are paid for until they are released. */
export function whileEnded(
  state: In<"complete" | "failed" | "cancelled">,
  event: JobEvent,
  now: number,
): Decision {
  if (event.kind !== "settled") return stay(state);
  const effect = state.effects.find(({ id }) => id === event.effectId);
  if (effect === undefined) return stay(state);
  const effects = state.effects.filter(({ id }) => id !== event.effectId);
  const ended = { ...state, effects };
  const { outcome } = event;
  if (effect.kind === "erase" && outcome.kind === "failed")
    return eraseAgain(state, effect, outcome.reason.sentence);
  const commit = outcome.kind === "abortAnswered" ? outcome.commit : null;
  if (effect.kind !== "abortSave" || commit === null || state.live === null)
    return { state: ended, told: [], generation: null };
  const found = { step: effect.key.step, commit, committedMs: now };
  const live = { ...state.live, lastCommit: newestCommit(state.live, found) };
  return { state: { ...ended, live }, told: [], generation: null };
}

/** What is wanted stays wanted: another try, and the reason for people when it is a new one. */
function eraseAgain(
  state: In<"complete" | "failed" | "cancelled">,
  erase: Extract<Effect, { readonly kind: "erase" }>,
  sentence: string,
): Decision {
  const tries = erase.tries + 1;
  const reason = { code: "DeletionDelayed", sentence };
  const isNew = state.reason.sentence !== sentence;
  const effects = state.effects.map((effect) =>
    effect.id === erase.id ? { ...erase, id: `erase:${tries}`, tries } : effect,
  );
  return {
    state: { ...state, reason, effects },
    told: isNew ? [{ reason, severity: "warning" }] : [],
    generation: null,
  };
}
