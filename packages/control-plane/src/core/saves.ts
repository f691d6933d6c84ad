/** Saves of one job: one in flight, decided once, remembered until every member has heard. */

import type { MemberEvent, Outcome } from "./events.ts";
import type { DecidedSave, Effect, Live, SaveState } from "./state.ts";
import { change, drop, type Turn, tell, want } from "./turn.ts";

type Of<K extends MemberEvent["kind"]> = Extract<MemberEvent, { readonly kind: K }>;

/** A member copied its blocks at the end of this step. The first one starts the save. */
export function onStaged(turn: Turn, event: Of<"staged">): void {
  const { live, now } = turn;
  const { step, generation, trigger, member } = event;
  if (isDecided(live.decidedSaves, step, generation)) return;
  const { save, committed } = live;
  if (save !== null && save.step === step && save.generation === generation) {
    if (!save.staged.includes(member))
      change(turn, { save: { ...save, staged: [...save.staged, member] } });
    return;
  }
  // Of a broken generation not every rank comes to the end of that step: its survivors stage it in the next one.
  if (committed?.number !== generation || committed.mode === "broken") {
    decided(turn, { step, generation, key: null, status: "aborted", why: "generation_ended" });
    return;
  }
  if (save !== null && trigger === "periodic") {
    decided(turn, { step, generation, key: null, status: "aborted", why: "skipped" });
    tell(
      turn,
      "SaveSkipped",
      `the save of step ${step} is skipped: the one of step ${save.step} is not written yet`,
    );
    return;
  }
  const members = [...new Set(committed.seats.map((seat) => seat.member))];
  const next: SaveState = {
    step,
    generation,
    trigger,
    sinceMs: now,
    staged: [member],
    begun: null,
    members,
  };
  if (save === null) {
    begin(turn, next);
    return;
  }
  // The final save waits for the one in flight.
  const waiting = live.nextSave;
  if (waiting === null) change(turn, { nextSave: next });
  else if (!waiting.staged.includes(member)) {
    change(turn, { nextSave: { ...waiting, staged: [...waiting.staged, member] } });
  }
}

function begin(turn: Turn, save: SaveState): void {
  change(turn, { save });
  beginWhenRecorded(turn);
}

/** A checkpoint is never ahead of the journal: who resumes from it must not miss what the steps before consumed. */
export function beginWhenRecorded(turn: Turn): void {
  const { save } = turn.live;
  if (save === null || save.begun !== null || turn.live.step < save.step) return;
  const { step, generation, trigger } = save;
  want(turn, { id: `begin:${step}:${generation}`, kind: "beginSave", step, generation, trigger });
}

export function onBegun(
  turn: Turn,
  effectId: string,
  outcome: Extract<Outcome, { kind: "begun" }>,
): void {
  const { save } = turn.live;
  if (save === null || effectId !== `begin:${save.step}:${save.generation}`) return;
  const { begun, commit } = outcome;
  if (commit === null) {
    change(turn, { save: { ...save, begun } });
    return;
  }
  // Committed while nobody here could hear of it: these are the bits, they are not written a second time.
  const { step, generation } = save;
  decided(turn, { step, generation, key: begun.key, status: "committed", why: "" });
  forgetSave(turn, save);
  takeCommit(turn, step, commit);
}

export function onWrote(turn: Turn, event: Of<"wrote">): void {
  const { save } = turn.live;
  const { key, prepared } = event;
  if (save?.begun?.key.saveId !== key.saveId) return;
  want(turn, {
    id: `prepared:${key.saveId}:${prepared.writer}:${prepared.incarnation}`,
    kind: "reportPrepared",
    key,
    prepared,
  });
}

export function onSaveFailed(turn: Turn, event: Of<"saveFailed">): void {
  if (turn.live.save?.begun?.key.saveId !== event.key.saveId) return;
  abortSave(turn, event.reason.code, `writer ${event.writer}: ${event.reason.sentence}`);
}

export function onSaveDecision(
  turn: Turn,
  saveId: string,
  outcome: Extract<Outcome, { kind: "save" }>,
): void {
  const { save } = turn.live;
  // An answer about an older save says nothing about this one.
  if (save?.begun?.key.saveId !== saveId || outcome.status === "waiting") return;
  const { step, generation, begun, trigger } = save;
  const why = outcome.status === "committed" ? "" : outcome.reason.code;
  decided(turn, { step, generation, key: begun.key, status: outcome.status, why });
  forgetSave(turn, save);
  if (outcome.status === "aborted") {
    tell(
      turn,
      outcome.reason.code || "SaveAborted",
      `the save of step ${step} was aborted: ${outcome.reason.sentence}`,
      "warning",
    );
    if (trigger === "final") saveAgain(turn);
    return;
  }
  takeCommit(turn, step, outcome.commit);
}

/** A checkpoint exists now, as far as is known here. */
export function takeCommit(turn: Turn, step: number, commit: string): void {
  change(turn, { lastCommit: newestCommit(turn.live, { step, commit, committedMs: turn.now }) });
  tell(turn, "CheckpointCommitted", `the checkpoint of step ${step} is committed: ${commit}`);
}

/** What is heard late, of an older step, never takes the place of what is known. */
export function newestCommit(
  { lastCommit }: Live,
  found: NonNullable<Live["lastCommit"]>,
): NonNullable<Live["lastCommit"]> {
  return lastCommit === null || found.step > lastCommit.step ? found : lastCommit;
}

/** The checkpoint-manager has the last word: a save that it had committed before it heard of the abort is committed. */
export function onAbortAnswered(
  turn: Turn,
  { key, detail }: Extract<Effect, { readonly kind: "abortSave" }>,
  commit: string | null,
): void {
  if (commit === null) {
    tell(turn, "SaveAborted", `the save of step ${key.step} was aborted: ${detail}`, "warning");
  } else takeCommit(turn, key.step, commit);
}

/** Whether the last step is checkpointed is not known while the abort of its save is not answered. */
export function waitsForFinalAbort({ live, effects }: Turn): boolean {
  const { facts } = live;
  return effects.some(
    (effect) =>
      effect.kind === "abortSave" && facts !== null && effect.key.step >= facts.totalSteps,
  );
}

/** A member of the save is gone: what it had staged is gone with it. */
export function abortSaveOf(turn: Turn, member: string): void {
  dropNext(turn, (next) => next.members.includes(member));
  const { save } = turn.live;
  if (save?.members.includes(member))
    abortSave(turn, "writer_lost", `member ${member} was lost while it was written`);
}

/** A final save that waits and can no longer be whole: the ranks stage it again in the next generation. */
function dropNext(turn: Turn, isVoid: (next: SaveState) => boolean): void {
  const { nextSave } = turn.live;
  if (nextSave === null || !isVoid(nextSave)) return;
  const { step, generation } = nextSave;
  change(turn, { nextSave: null });
  decided(turn, { step, generation, key: null, status: "aborted", why: "generation_ended" });
  saveAgain(turn);
}

/** The store did not take it; the next one is tried at its own time. */
export function giveUpSave(turn: Turn, sentence: string): void {
  abortSave(turn, "storage", sentence);
}

/** The generation broke, or another one took its place, before everybody had staged: those who have not, never will. */
export function abortHalfStaged(turn: Turn): void {
  dropNext(turn, (next) => next.members.some((member) => !next.staged.includes(member)));
  const { save } = turn.live;
  if (save?.members.some((member) => !save.staged.includes(member))) {
    abortSave(turn, "generation_ended", "the generation ended before every member had staged");
  }
}

export function checkSaveDeadline(turn: Turn): void {
  const { save } = turn.live;
  if (save !== null && turn.now - save.sinceMs > turn.policy.saveDeadlineMs) {
    abortSave(
      turn,
      "deadline",
      `not written after ${Math.round((turn.now - save.sinceMs) / 1000)} s`,
    );
  }
}

function abortSave(turn: Turn, reason: string, detail: string): void {
  const { save } = turn.live;
  if (save === null) return;
  const { step, generation, begun, trigger } = save;
  const key = begun?.key ?? null;
  decided(turn, { step, generation, key, status: "aborted", why: reason });
  forgetSave(turn, save);
  if (begun !== null)
    want(turn, {
      id: `abort:${begun.key.saveId}`,
      kind: "abortSave",
      key: begun.key,
      reason,
      detail,
    });
  // What was begun may be committed all the same; the answer says.
  else tell(turn, "SaveAborted", `the save of step ${step} was aborted: ${detail}`, "warning");
  if (trigger === "final") saveAgain(turn);
}

/** Ranks stage the final save again when a generation starts at the end: make one. */
function saveAgain(turn: Turn): void {
  const { committed } = turn.live;
  if (committed?.mode === "running") change(turn, { committed: { ...committed, mode: "pausing" } });
}

function forgetSave(turn: Turn, save: SaveState): void {
  drop(turn, `begin:${save.step}:${save.generation}`);
  const { begun } = save;
  if (begun !== null) {
    turn.effects = turn.effects.filter(
      (effect) => effect.kind !== "reportPrepared" || effect.key.saveId !== begun.key.saveId,
    );
  }
  const { nextSave } = turn.live;
  change(turn, { save: null, nextSave: null });
  if (nextSave !== null) begin(turn, nextSave);
}

function decided(turn: Turn, decision: DecidedSave): void {
  change(turn, {
    decidedSaves: [...turn.live.decidedSaves, decision].slice(-turn.policy.decidedSavesKept),
  });
}

function isDecided(decisions: readonly DecidedSave[], step: number, generation: number): boolean {
  return decisions.some((decision) => decision.step === step && decision.generation === generation);
}
