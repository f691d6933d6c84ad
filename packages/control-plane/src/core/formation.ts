/** Making generations: when one is needed, who is waited for, prepare, commit, give up. */
import type { Reason } from "@shardwright/job";
import { RESTART } from "./failure.ts";
import { formGeneration } from "./generation.ts";
import { dismissLeavers } from "./leaving.ts";
import { HANG_MEDIANS, judgeSilence } from "./liveness.ts";
import { loseMember } from "./members.ts";
import { discardPrepared, movedBytes, partakers } from "./prepared.ts";
import { type Relief, reliefOf } from "./relief.ts";
import type { Candidate } from "./resume.ts";
import { abortHalfStaged, waitsForFinalAbort } from "./saves.ts";
import { lineAfter, waitsForSnapshots } from "./snapshots.ts";
import type {
  CommittedGeneration,
  GenerationPlan,
  Live,
  MemberState,
  PreparedGeneration,
  RankSlot,
} from "./state.ts";
import { change, changeRanks, type Turn, tell, want } from "./turn.ts";

/** Brings the job one step nearer to a running generation, if it is not in one. */
export function advanceFormation(turn: Turn): void {
  const { live } = turn;
  if (turn.failed !== null || live.facts === null) return;
  if (live.prepared !== null) {
    commitWhenReady(turn, live.prepared);
    return;
  }
  if (isAtEnd(live)) return;
  if (live.committed?.mode === "running") {
    pauseForChange(turn, live.committed);
    return;
  }
  formWhenAble(turn);
}

/** Every rank has done the last step: what is left is its final save. */
function isAtEnd(live: Live): boolean {
  return (
    live.lastCommit !== null && live.facts !== null && live.lastCommit.step >= live.facts.totalSteps
  );
}

/** Ranks that wait to join, members that were asked to leave, lanes that others would do faster: all stop at a boundary. */
function pauseForChange(turn: Turn, committed: CommittedGeneration): void {
  const { live } = turn;
  const nearEnd = live.facts !== null && live.step >= live.facts.totalSteps - 1;
  if (nearEnd || committed.finished.length > 0 || live.save !== null) return;
  const seated = new Set(committed.seats.map(({ pid }) => pid));
  const joiners = idleRanks(live).filter(({ pid }) => !seated.has(pid));
  const room = live.plan.recipe.lanes - committed.seats.length;
  const joins = joiners.length > 0 && room > 0 && !stillLoading(live);
  // Where nobody stays there is nobody to hand over to: they train on for as long as they can.
  const stays = live.members.some(({ leaving, state }) => !leaving && state === "loaded");
  const leavers = live.members.filter(
    ({ leaving, name }) =>
      leaving && stays && committed.seats.some(({ member }) => member === name),
  );
  const relief = reliefOf(live, turn.base.spec.tuning.method, turn.now);
  if (!joins && leavers.length === 0 && relief === null) return;
  change(turn, { committed: { ...committed, mode: "pausing", brokenSinceMs: turn.now } });
  if (joins)
    tell(turn, "Joining", `${ranksText(joiners.length)} will join at the next step boundary`);
  for (const { name } of leavers) {
    tell(turn, "Leaving", `member ${name} leaves at the next step boundary`);
  }
  if (relief !== null) tell(turn, "Straggler", reliefText(relief, committed));
}

function reliefText({ slowest, before, after }: Relief, { seats }: CommittedGeneration): string {
  const { rank } = slowest;
  const who = `rank ${rank} of member ${seats[rank]?.member ?? ""}`;
  const gain = `a step computes for ${before.toPrecision(2)} s, ${after.toPrecision(2)} s with other lanes`;
  return slowest.after < slowest.before
    ? `${who} is slow: it gets ${slowest.after} of its ${slowest.before} lanes at the next step boundary; ${gain}`
    : `${who} has more lanes than it should: ${slowest.before} lanes; they are shared out anew at the next step boundary; ${gain}`;
}

/** While others load they may as well join together; nobody is made to stop twice. */
function stillLoading(live: Live): boolean {
  return live.members.some(
    ({ state, silentSinceMs, ranks }) =>
      state === "loading" &&
      silentSinceMs === null &&
      ranks.some((rank) => rank.state === "loading" && rank.pid > 0),
  );
}

function formWhenAble(turn: Turn): void {
  const { live, now } = turn;
  if (now < live.retryAtMs || waitsForSomebody(turn) || waitsForFinalAbort(turn)) return;
  const { facts } = live;
  const candidates = idleRanks(live);
  if (facts === null || (live.committed === null && waitsForStragglers(turn))) return;
  const number = live.lastGeneration + 1;
  const formed = formGeneration({
    uid: turn.base.uid,
    method: turn.base.spec.tuning.method,
    live,
    facts,
    candidates,
    leavers: idleRanks(live, true),
    ranksMin: ranksMin(turn),
    reason: formationReason(live, candidates),
    head: live.seeking?.generation === number ? live.seeking.head : null,
  });
  const needsState =
    formed.kind === "needsHead" ||
    (formed.kind === "formed" && live.committed !== null && formed.plan.source.kind !== "live");
  const offered = formed.kind === "formed" ? formed.plan : null;
  if (needsState && (waitsForHolders(turn) || waitsForSnapshots(turn, offered))) return;
  switch (formed.kind) {
    case "tooFew":
      turn.reason = formed.reason;
      return;
    case "needsHead":
      if (live.seeking?.generation === number) return;
      change(turn, { seeking: { generation: number, head: null } });
      tell(turn, "StateLost", `${formed.sentence}; going on from the last checkpoint`, "warning");
      want(turn, { id: `head:${number}`, kind: "chooseHead", generation: number });
      return;
    case "formed":
      prepare(turn, formed.plan);
      return;
    default:
      formed satisfies never;
  }
}

/** Prepared once there is a store for it. */
function prepare(turn: Turn, plan: GenerationPlan): void {
  const { live, now } = turn;
  if (live.store?.generation !== plan.number) {
    want(turn, { id: `store:${plan.number}`, kind: "ensureStore", generation: plan.number });
    return;
  }
  const seated = new Set(partakers(plan).map(({ pid }) => pid));
  change(turn, {
    prepared: { ...plan, sinceMs: now, ready: [] },
    lastGeneration: plan.number,
    seeking: null,
  });
  changeRanks(turn, (_, rank) => seated.has(rank.pid), { state: "busy" });
  tell(
    turn,
    "GenerationPrepared",
    `generation ${plan.number}: ${ranksText(plan.seats.length)}, state ${sourceText(plan)}${redoneText(live.step - plan.step)}`,
  );
}

/** Ranks that have to say where they stopped before anything can be planned from what they hold. */
function waitsForSomebody(turn: Turn): boolean {
  const waited = turn.live.members.filter(
    (member) => member.state !== "lost" && member.ranks.some((rank) => rank.state === "busy"),
  );
  if (waited.length === 0) {
    if (turn.live.waitingSinceMs !== null) change(turn, { waitingSinceMs: null });
    return false;
  }
  const sinceMs = turn.live.waitingSinceMs ?? turn.now;
  change(turn, { waitingSinceMs: sinceMs });
  let waits = false;
  for (const member of waited) {
    const sentence = whyGivenUp(turn, member, sinceMs);
    if (sentence === null) waits = true;
    else giveUpMember(turn, member, sentence);
  }
  return turn.failed !== null || waits;
}

/** The state may be with members that are away for a moment: it is read from elsewhere only without them. */
function waitsForHolders(turn: Turn): boolean {
  const { members, committed } = turn.live;
  let waits = false;
  for (const member of members) {
    const holds =
      member.snapshots.length > 0 ||
      member.ranks.some(({ holding }) => holding?.generation === committed?.number);
    if (member.state === "lost" || member.silentSinceMs === null || !holds) continue;
    const silence = judgeSilence(member, true, turn.now, turn.policy);
    if (silence.verdict === "lost") giveUpMember(turn, member, silence.sentence);
    else waits = true;
  }
  return turn.failed !== null || waits;
}

function whyGivenUp(turn: Turn, member: MemberState, sinceMs: number): string | null {
  const silence = judgeSilence(member, true, turn.now, turn.policy);
  if (silence.verdict === "lost") return silence.sentence;
  const stepMs = 1000 * (turn.live.progress?.seconds ?? turn.live.plan.stepSecondsPredicted);
  const limitMs = Math.max(turn.policy.boundaryWaitMs, HANG_MEDIANS * stepMs);
  if (turn.now - sinceMs <= limitMs) return null;
  return `member ${member.name} did not say where its ranks stopped within ${Math.round(limitMs / 1000)} s`;
}

/** It is ended for certain, then another incarnation takes its place. */
export function giveUpMember(turn: Turn, member: MemberState, sentence: string): void {
  const { name, incarnation } = member;
  want(turn, { id: `stop:${name}:${incarnation}`, kind: "stopMember", member: name, incarnation });
  loseMember(turn, member, "node", sentence);
}

function waitsForStragglers(turn: Turn): boolean {
  const { live, now, policy } = turn;
  const missing = live.members.filter(({ state }) => state === "launching" || state === "loading");
  if (missing.length === 0) return false;
  const oldest = Math.min(...live.members.map(({ launchedMs }) => launchedMs));
  const names = missing.map(({ name }) => name).join(", ");
  turn.reason = {
    code: "MembersStarting",
    sentence: `waiting for ${missing.length} of ${live.members.length} members to load: ${names}`,
  };
  return now - oldest < policy.stragglerWaitMs || idleRanks(live).length < ranksMin(turn);
}

export function ranksMin({ base, live }: Turn): number {
  const wanted = live.members.filter(({ leaving }) => !leaving).length;
  const members = base.spec.resources.members.min ?? live.plan.members;
  return Math.max(1, Math.min(members, wanted) * live.plan.ranksPerMember);
}

/** Ranks that wait at a boundary: of members that stay, or of those that leave. */
export function idleRanks(live: Live, leaving = false): Candidate[] {
  return live.members.flatMap((member) =>
    member.state === "lost" || member.leaving !== leaving || member.silentSinceMs !== null
      ? []
      : member.ranks
          .filter((rank) => rank.state === "idle")
          .map((rank) => candidateOf(member, rank)),
  );
}

function candidateOf(member: MemberState, rank: RankSlot): Candidate {
  return {
    member: member.name,
    slot: member.slot,
    incarnation: member.incarnation,
    localRank: rank.localRank,
    pid: rank.pid,
    node: member.node,
    holding: rank.holding,
  };
}

function formationReason(live: Live, ranks: readonly Candidate[]): Reason {
  const count = ranks.length;
  if (live.committed === null)
    return { code: "Started", sentence: `started with ${ranksText(count)}` };
  if (live.fault?.cause === RESTART)
    return { code: "Restarted", sentence: `restarted with ${ranksText(count)}` };
  if (live.fault !== null)
    return {
      code: "RankLost",
      sentence: `${live.fault.cause} at step ${live.fault.step}; going on with ${ranksText(count)}`,
    };
  const seated = new Set(live.committed.seats.map(({ pid }) => pid));
  const isSame = ranks.length === seated.size && ranks.every(({ pid }) => seated.has(pid));
  return isSame
    ? { code: "LanesMoved", sentence: `the same ${ranksText(count)} with other lanes` }
    : { code: "MembershipChanged", sentence: `going on with ${ranksText(count)}` };
}

function ranksText(count: number): string {
  return count === 1 ? "1 rank" : `${count} ranks`;
}

function sourceText({ source, step }: GenerationPlan): string {
  switch (source.kind) {
    case "fresh":
      return "from the beginning";
    case "live":
      return `from living ranks at step ${step}, ${source.transfer.totalBytes} bytes move`;
    case "snapshot":
      return `from the snapshot of step ${step} in the agents' memory, ${source.transfer.totalBytes} bytes move`;
    case "checkpoint":
      return `from the checkpoint of step ${step}`;
    default:
      return source satisfies never;
  }
}

function redoneText(steps: number): string {
  if (steps <= 0) return "";
  return `; ${steps === 1 ? "1 step is" : `${steps} steps are`} computed again`;
}

function commitWhenReady(turn: Turn, prepared: PreparedGeneration): void {
  const members = new Set(partakers(prepared).map(({ member }) => member));
  if ([...members].some((name) => !prepared.ready.includes(name))) {
    if (turn.now - prepared.sinceMs > turn.policy.formationTimeoutMs) {
      const late = [...members].filter((name) => !prepared.ready.includes(name)).join(", ");
      discardPrepared(turn, { code: "FormationTimeout", sentence: `not ready in time: ${late}` });
    }
    return;
  }
  const { live, now } = turn;
  const redone = Math.max(0, live.step - prepared.step);
  const { sinceMs, ready: _, ...plan } = prepared;
  abortHalfStaged(turn);
  change(turn, {
    prepared: null,
    committed: {
      ...plan,
      leavers: [],
      committedMs: now,
      finished: [],
      mode: "running",
      brokenSinceMs: null,
    },
    line: lineAfter(live.line, plan),
    discarded: [],
    formationTries: 0,
    waitingSinceMs: null,
    recoveries: { ...live.recoveries, stepsRedone: live.recoveries.stepsRedone + redone },
  });
  const seated = new Set(plan.seats.map(({ pid }) => pid));
  changeRanks(turn, (_, rank) => seated.has(rank.pid), { state: "busy", holding: null });
  turn.generation = {
    generation: plan.number,
    step: plan.step,
    reason: plan.reason,
    worldSize: plan.seats.length,
    movedBytes: movedBytes(plan.source),
    seconds: (now - (live.committed?.brokenSinceMs ?? sinceMs)) / 1000,
    source: plan.source.kind,
    committedMs: now,
  };
  turn.reason = {
    code: "Running",
    sentence: `generation ${plan.number} with ${ranksText(plan.seats.length)}, from step ${plan.step}`,
  };
  tell(turn, "GenerationCommitted", turn.reason.sentence);
  dismissLeavers(turn, plan.seats);
}
