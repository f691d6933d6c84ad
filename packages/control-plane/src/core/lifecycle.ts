/** The life of a job: (state, event, now, policy) → state and effects. Pure; the shell does the rest. */

import type { Reason } from "@shardwright/job";
import { baseOf, end, whileEnded, whileFinishing } from "./ending.ts";
import { onDelete } from "./erasure.ts";
import type { HeadAnswer, JobEvent, MemberEvent, Outcome } from "./events.ts";
import { NOTHING_SPENT } from "./failure.ts";
import { advanceFormation, giveUpMember } from "./formation.ts";
import { onLeaving } from "./leaving.ts";
import { bookDecision } from "./ledger.ts";
import { judgeSilence } from "./liveness.ts";
import {
  launchOf,
  loseMember,
  newMember,
  onGenerationFailed,
  onHello,
  onInterrupted,
  onLoaded,
  onLoading,
  onRankExit,
  onReady,
  onScale,
  pay,
} from "./members.ts";
import type { Policy } from "./policy.ts";
import { pacesAfter } from "./relief.ts";
import {
  beginWhenRecorded,
  checkSaveDeadline,
  giveUpSave,
  onAbortAnswered,
  onBegun,
  onSaveDecision,
  onSaveFailed,
  onStaged,
  onWrote,
  takeCommit,
} from "./saves.ts";
import { onSnapshots } from "./snapshots.ts";
import { type Decision, type Effect, type In, type JobState, type Live, liveOf } from "./state.ts";
import { tallyDecision } from "./tally.ts";
import { beginTurn, change, drop, memberOf, stay, type Turn, tell, want } from "./turn.ts";

export function decide(state: JobState, event: JobEvent, now: number, policy: Policy): Decision {
  if (isStale(state, event)) return stay(state);
  const decision = whileIn(state, event, now, policy);
  if (decision.state === state) return decision;
  const isParked = event.kind === "parked";
  const ledger = bookDecision({ before: state, after: decision.state, now, isParked });
  const tallies = tallyDecision(state, decision.state, now);
  return { ...decision, state: { ...decision.state, ledger, tallies } };
}

function whileIn(state: JobState, event: JobEvent, now: number, policy: Policy): Decision {
  if (event.kind === "delete") return onDelete(state, event, now);
  switch (state.phase) {
    case "queued":
      return whileQueued(state, event, now);
    case "active":
      return whileActive(state, event, now, policy);
    case "finishing":
      return whileFinishing(state, event, now);
    case "complete":
    case "failed":
    case "cancelled":
      return whileEnded(state, event, now);
    default:
      return state satisfies never;
  }
}

/** A message of an incarnation that was replaced, or of nobody: the one place where that fence stands. */
function isStale(state: JobState, event: JobEvent): boolean {
  if (!("member" in event)) return false;
  const live = liveOf(state);
  const member = live?.members.find(({ name }) => name === event.member);
  return (
    member === undefined || member.incarnation !== event.incarnation || member.state === "lost"
  );
}

function whileQueued(state: In<"queued">, event: JobEvent, now: number): Decision {
  switch (event.kind) {
    case "waits":
      if (
        event.reason.code === state.reason.code &&
        event.reason.sentence === state.reason.sentence
      )
        return stay(state);
      return {
        state: { ...state, reason: event.reason },
        told: [{ reason: event.reason, severity: "normal" }],
        generation: null,
      };
    case "placed":
      return place(state, event, now);
    case "cancel":
      return end(
        state,
        "cancelled",
        { code: "Cancelled", sentence: "cancelled before it started" },
        now,
      );
    default:
      return stay(state);
  }
}

function place(
  state: In<"queued">,
  event: Extract<JobEvent, { kind: "placed" }>,
  now: number,
): Decision {
  const members = event.members.map(({ name, node }, slot) =>
    newMember({ name, slot, node, incarnation: 1 }, now),
  );
  // The rendezvous store takes seconds to start: it does so while the members load.
  const store: Effect = { id: "store:1", kind: "ensureStore", generation: 1 };
  const effects: Effect[] = [...members.map(launchOf), store];
  const plan = state.submittedPlan;
  const live: Live = {
    plan,
    members,
    incarnations: Object.fromEntries(members.map(({ name, incarnation }) => [name, incarnation])),
    facts: null,
    lastGeneration: 0,
    committed: null,
    line: [],
    prepared: null,
    discarded: [],
    seeking: null,
    store: null,
    judgedPids: [],
    waitingSinceMs: null,
    formationTries: 0,
    retryAtMs: 0,
    step: 0,
    progress: null,
    paces: [],
    save: null,
    nextSave: null,
    decidedSaves: [],
    lastCommit: null,
    spent: NOTHING_SPENT,
    refundedAt: 0,
    recoveries: { count: 0, stepsRedone: 0, lastCause: "", lastSeconds: 0 },
    fault: null,
  };
  return {
    state: {
      ...state,
      phase: "active",
      live,
      effects,
      reason: { code: "Starting", sentence: `${members.length} members are launched` },
      sinceMs: now,
    },
    told: [{ reason: event.reason, severity: "normal" }],
    generation: null,
  };
}

function whileActive(state: In<"active">, event: JobEvent, now: number, policy: Policy): Decision {
  if (event.kind === "cancel") {
    return end(
      state,
      "cancelled",
      { code: "Cancelled", sentence: `cancelled at step ${state.live.step}` },
      now,
    );
  }
  const turn = beginTurn(state, state.live, now, policy);
  hear(turn, event);
  if (turn.failed === null && finalCommitOf(turn.live) === null) advanceFormation(turn);
  return close(state, turn);
}

function hear(turn: Turn, event: JobEvent): void {
  switch (event.kind) {
    case "tick":
      checkSilence(turn);
      checkSaveDeadline(turn);
      return;
    case "settled":
      onSettled(turn, event.effectId, event.outcome);
      return;
    case "stepped":
      onStepped(turn, event);
      return;
    case "scale":
      onScale(turn, event.members);
      return;
    case "parked":
      // Only the ledger hears of it.
      change(turn, {});
      return;
    case "waits":
    case "placed":
    case "cancel":
    case "delete":
      return;
    default:
      hearMember(turn, event);
  }
}

function hearMember(turn: Turn, event: MemberEvent): void {
  switch (event.kind) {
    case "hello":
      onHello(turn, event);
      return;
    case "loading":
      onLoading(turn, event);
      return;
    case "loaded":
      onLoaded(turn, event);
      return;
    case "ready":
      onReady(turn, event);
      return;
    case "generationFailed":
      onGenerationFailed(turn, event);
      return;
    case "interrupted":
      onInterrupted(turn, event);
      return;
    case "rankExit":
      onRankExit(turn, event);
      return;
    case "staged":
      onStaged(turn, event);
      return;
    case "wrote":
      onWrote(turn, event);
      return;
    case "saveFailed":
      onSaveFailed(turn, event);
      return;
    case "finished":
      onFinished(turn, event);
      return;
    case "snapshots":
      onSnapshots(turn, event);
      return;
    case "hung":
      onHung(turn, event);
      return;
    case "leaving":
      onLeaving(turn, event);
      return;
    case "streamLost":
      onStreamLost(turn, event.member);
      return;
    case "gone": {
      const member = memberOf(turn, event.member);
      if (member !== undefined)
        loseMember(turn, member, event.cause, `member ${event.member} is gone: ${event.sentence}`);
      return;
    }
    default:
      event satisfies never;
  }
}

/** The journal holds every lane up to this step. Progress gives budgets back and ends a recovery. */
function onStepped(turn: Turn, event: Extract<JobEvent, { kind: "stepped" }>): void {
  const { live, now, policy } = turn;
  if (event.step <= live.step) return;
  const { fault, recoveries, committed } = live;
  const recovered = fault !== null && committed?.mode === "running" && event.step > fault.step;
  const refund = event.step - live.refundedAt >= policy.refundSteps;
  change(turn, {
    step: event.step,
    progress: event.facts ?? live.progress,
    paces:
      committed === null ? [] : pacesAfter(live.paces, committed, { times: event.laneTimes, now }),
    ...(refund ? { spent: NOTHING_SPENT, refundedAt: event.step } : {}),
    ...(recovered
      ? {
          fault: null,
          recoveries: {
            ...recoveries,
            count: recoveries.count + 1,
            lastCause: fault.cause,
            lastSeconds: (now - fault.sinceMs) / 1000,
          },
        }
      : {}),
  });
  beginWhenRecorded(turn);
  if (recovered) {
    tell(
      turn,
      "Recovered",
      `step ${event.step} is done ${((now - fault.sinceMs) / 1000).toFixed(1)} s after: ${fault.cause}`,
    );
  }
}

function onFinished(turn: Turn, event: Extract<MemberEvent, { kind: "finished" }>): void {
  const { committed } = turn.live;
  if (committed?.number !== event.generation || committed.finished.includes(event.member)) return;
  change(turn, { committed: { ...committed, finished: [...committed.finished, event.member] } });
}

function onHung(turn: Turn, event: Extract<MemberEvent, { kind: "hung" }>): void {
  const { member, incarnation, localRank, sentence } = event;
  tell(turn, "Hang", sentence, "warning");
  const id = `restart:${member}:${incarnation}:${localRank}:${turn.live.step}`;
  want(turn, { id, kind: "restartRank", member, incarnation, localRank, reason: sentence });
}

function onStreamLost(turn: Turn, name: string): void {
  const member = memberOf(turn, name);
  if (member === undefined || member.silentSinceMs !== null) return;
  change(turn, {
    members: turn.live.members.map((one) =>
      one.name === name ? { ...one, silentSinceMs: turn.now } : one,
    ),
  });
}

/** Members that do not load are given up; missing ones only when somebody waits for them (formation.ts). */
function checkSilence(turn: Turn): void {
  for (const member of turn.live.members) {
    if (turn.failed !== null || (member.state !== "launching" && member.state !== "loading"))
      continue;
    const silence = judgeSilence(member, member.state === "launching", turn.now, turn.policy);
    if (silence.verdict !== "lost") continue;
    giveUpMember(turn, member, silence.sentence);
  }
}

function onSettled(turn: Turn, effectId: string, outcome: Outcome): void {
  const effect = turn.effects.find(({ id }) => id === effectId);
  if (effect === undefined) return;
  drop(turn, effectId);
  switch (outcome.kind) {
    case "store":
      if (effect.kind === "ensureStore") {
        change(turn, {
          store: { host: outcome.host, port: outcome.port, generation: effect.generation },
        });
      }
      return;
    case "head":
      onHead(turn, outcome.head);
      return;
    case "begun":
      onBegun(turn, effectId, outcome);
      return;
    case "save":
      if (effect.kind === "reportPrepared") onSaveDecision(turn, effect.key.saveId, outcome);
      return;
    case "abortAnswered":
      if (effect.kind === "abortSave") onAbortAnswered(turn, effect, outcome.commit);
      return;
    case "failed":
      onEffectFailed(turn, effect, outcome.reason);
      return;
    case "done":
    case "hashes":
    case "exported":
      return;
    default:
      outcome satisfies never;
  }
}

/** What is chosen is committed, whether or not its commit was ever heard of here. */
function onHead(turn: Turn, head: HeadAnswer): void {
  const { seeking, lastCommit } = turn.live;
  if (seeking !== null) change(turn, { seeking: { ...seeking, head } });
  if (head.kind === "commit" && head.step > (lastCommit?.step ?? 0))
    takeCommit(turn, head.step, head.commit);
}

/** The shell gave up on an effect after its own tries. */
function onEffectFailed(turn: Turn, effect: Effect, reason: Reason): void {
  tell(turn, reason.code, reason.sentence, "warning");
  switch (effect.kind) {
    case "launchMember": {
      const member = memberOf(turn, effect.member);
      if (member?.incarnation === effect.incarnation)
        loseMember(turn, member, "node", reason.sentence);
      return;
    }
    case "ensureStore":
    case "chooseHead":
      change(turn, { seeking: null, retryAtMs: turn.now + 1_000 });
      return;
    case "abortSave":
      // Nobody decided it: whoever comes next to the checkpoint-manager does. Another save in flight goes on.
      pay(turn, "storage", reason.sentence);
      return;
    case "beginSave":
    case "reportPrepared":
      pay(turn, "storage", reason.sentence);
      if (turn.failed === null) giveUpSave(turn, reason.sentence);
      return;
    default:
      return;
  }
}

/** What became of the turn: still active, failed, or on to the end. */
function close(state: In<"active">, turn: Turn): Decision {
  const { told, generation, now } = turn;
  if (isUnchanged(state, turn)) return stay(state);
  const base = { ...baseOf(state), effects: turn.effects, reason: turn.reason };
  if (turn.failed !== null) {
    const ended = end({ ...base, phase: "active", live: turn.live }, "failed", turn.failed, now);
    return { state: ended.state, told: [...told, ...ended.told], generation };
  }
  const commit = finalCommitOf(turn.live);
  if (commit === null)
    return { state: { ...base, phase: "active", live: turn.live }, told, generation };
  return {
    state: {
      ...base,
      phase: "finishing",
      live: turn.live,
      commit,
      hashes: null,
      exports: state.spec.export.map(() => null),
      effects: [
        { id: "release", kind: "release", why: "complete" },
        { id: "hash", kind: "hash", commit },
      ],
      reason: {
        code: "Finishing",
        sentence: `the last step is checkpointed as ${commit}; hashing and exporting`,
      },
      sinceMs: now,
    },
    told,
    generation,
  };
}

/** The last step is checkpointed, and the journal knows what every step consumed. */
function finalCommitOf({ facts, step, lastCommit }: Live): string | null {
  const isAll =
    facts !== null && lastCommit !== null && Math.min(step, lastCommit.step) >= facts.totalSteps;
  return isAll ? lastCommit.commit : null;
}

/** Most ticks find nothing to do: what is not decided is not written. */
function isUnchanged(state: In<"active">, turn: Turn): boolean {
  const { reason } = turn;
  return (
    turn.live === state.live &&
    turn.effects === state.effects &&
    turn.failed === null &&
    turn.told.length === 0 &&
    reason.code === state.reason.code &&
    reason.sentence === state.reason.sentence
  );
}
