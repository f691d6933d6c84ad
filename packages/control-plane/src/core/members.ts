/** What members say of themselves and their ranks, and what losing one means. */

import type { MemberEvent } from "./events.ts";
import { judgeFailure, RESTART } from "./failure.ts";
import { discardPrepared, evidenceFault, partakers } from "./prepared.ts";
import { abortHalfStaged, abortSaveOf } from "./saves.ts";
import type { Effect, JobFacts, Live, MemberState, RankSlot, Seat } from "./state.ts";
import { change, changeMember, changeRanks, memberOf, type Turn, tell, want } from "./turn.ts";

// More ends than this are not outstanding at once, even when every rank dies again and again.
const JUDGED_PIDS_KEPT = 256;

type Of<K extends MemberEvent["kind"]> = Extract<MemberEvent, { readonly kind: K }>;

/** A member nobody has heard yet; its process is asked for by `launchOf`. */
export function newMember(
  who: Pick<MemberState, "name" | "slot" | "node" | "incarnation">,
  now: number,
): MemberState {
  return {
    ...who,
    state: "launching",
    pid: 0,
    silentSinceMs: null,
    ranks: [],
    snapshots: [],
    launchedMs: now,
    leaving: false,
    returns: false,
    doing: "",
  };
}

export function launchOf({ name, slot, incarnation, node }: MemberState): Effect {
  const id = `launch:${name}:${incarnation}`;
  return { id, kind: "launchMember", member: name, slot, incarnation, node };
}

export function onHello(turn: Turn, event: Of<"hello">): void {
  const member = memberOf(turn, event.member);
  if (member === undefined) return;
  const isFirst = member.state === "launching";
  changeMember(turn, event.member, {
    pid: event.pid,
    silentSinceMs: null,
    state: isFirst ? "loading" : member.state,
  });
  if (isFirst) tell(turn, "MemberConnected", `member ${event.member} is connected and loads`);
}

export function onLoading(turn: Turn, event: Of<"loading">): void {
  changeMember(turn, event.member, { doing: event.doing });
}

/** Every rank of the member has the model. A message that comes again changes nothing for ranks that are known. */
export function onLoaded(turn: Turn, event: Of<"loaded">): void {
  const member = memberOf(turn, event.member);
  if (member === undefined) return;
  const differs = turn.live.facts === null ? null : factsDiffer(turn.live.facts, event.facts);
  if (differs !== null) {
    turn.failed = {
      code: "RecipeMismatch",
      sentence: `member ${event.member} has another ${differs} than the members before it`,
    };
    return;
  }
  const ranks = event.ranks.map((rank): RankSlot => {
    const known = member.ranks.find(({ pid, state }) => pid === rank.pid && state !== "loading");
    return known ?? { localRank: rank.localRank, pid: rank.pid, state: "idle", holding: null };
  });
  const replaced = member.ranks.filter(
    ({ pid }) => pid > 0 && !event.ranks.some((rank) => rank.pid === pid),
  );
  change(turn, { facts: turn.live.facts ?? event.facts });
  changeMember(turn, event.member, { state: "loaded", ranks, doing: "" });
  if (member.state !== "loaded")
    tell(turn, "MemberLoaded", `member ${event.member} has loaded the model`);
  // Processes that ended and were replaced while the member was not heard: their exits are withdrawn by then.
  for (const { pid } of replaced) {
    const sentence = `rank process ${pid} of member ${event.member} was replaced while it was not heard`;
    leaveSeats(turn, (seat) => seat.pid === pid, "unknown", sentence);
  }
}

function factsDiffer(known: JobFacts, found: JobFacts): string | null {
  if (known.layout.fingerprint !== found.layout.fingerprint) return "model layout";
  if (known.dataDigest !== found.dataDigest) return "data digest";
  return known.recipeSha256 === found.recipeSha256
    ? null
    : "recipe digest (torch version, threads or plan)";
}

export function onReady(turn: Turn, event: Of<"ready">): void {
  const { prepared } = turn.live;
  if (prepared?.number !== event.generation || prepared.ready.includes(event.member)) return;
  const fault = evidenceFault(prepared, event.member, event.evidence);
  if (fault !== null) discardPrepared(turn, fault);
  else change(turn, { prepared: { ...prepared, ready: [...prepared.ready, event.member] } });
}

export function onGenerationFailed(turn: Turn, event: Of<"generationFailed">): void {
  if (turn.live.prepared?.number !== event.generation) return;
  const { code, sentence } = event.reason;
  discardPrepared(turn, { code, sentence: `member ${event.member}: ${sentence}` });
}

/** Ranks of the committed generation stand at a boundary and say what they hold. */
export function onInterrupted(turn: Turn, event: Of<"interrupted">): void {
  const { committed } = turn.live;
  const isOurs = event.generation === committed?.number;
  if (!isOurs && event.generation !== 0) return;
  // Said again from before the generation that is being made: what these ranks do now is adopt it.
  const adopting = new Set(partakers(turn.live.prepared).map(({ pid }) => pid));
  for (const said of event.ranks) {
    if (adopting.has(said.pid)) continue;
    const matches = (member: MemberState, rank: RankSlot): boolean =>
      member.name === event.member && rank.pid === said.pid && rank.state === "busy";
    changeRanks(turn, matches, { state: "idle", holding: said.holding });
  }
  if (isOurs && committed?.mode === "running") {
    breakGeneration(
      turn,
      "communication",
      `ranks of member ${event.member} stopped at a step boundary`,
    );
  }
}

export function onRankExit(turn: Turn, event: Of<"rankExit">): void {
  const member = memberOf(turn, event.member);
  const rank = member?.ranks.find(({ pid }) => pid === event.pid);
  const isLoading = member?.state === "loading" || member?.state === "launching";
  // Told again after a reconnect, or of a process that was replaced long ago.
  const isKnown = turn.live.judgedPids.includes(event.pid);
  if (member === undefined || isKnown || (rank === undefined && !isLoading)) return;
  const judgedPids = [...turn.live.judgedPids, event.pid].slice(-JUDGED_PIDS_KEPT);
  change(turn, { judgedPids });
  const told = `rank process ${event.pid} of member ${event.member}: ${event.sentence}`;
  if (rank !== undefined) {
    const gone: RankSlot = { localRank: rank.localRank, pid: 0, state: "loading", holding: null };
    changeMember(turn, event.member, {
      state: "loading",
      launchedMs: turn.now,
      ranks: member.ranks.map((one) => (one.pid === event.pid ? gone : one)),
    });
  }
  pay(turn, event.cause, told);
  if (turn.failed === null) leaveSeats(turn, ({ pid }) => pid === event.pid, event.cause, told);
}

/** The process of the member is gone, or given up: another incarnation takes its slot. */
export function loseMember(turn: Turn, member: MemberState, cause: string, sentence: string): void {
  changeMember(turn, member.name, {
    state: "lost",
    ranks: [],
    snapshots: [],
    silentSinceMs: turn.now,
  });
  // It had said that it goes: whatever made it go before it was released is nobody's fault.
  pay(turn, member.returns ? RESTART : cause, sentence);
  abortSaveOf(turn, member.name);
  if (turn.failed !== null) return;
  leaveSeats(
    turn,
    (seat) => seat.member === member.name && seat.incarnation === member.incarnation,
    cause,
    sentence,
  );
  if (member.leaving && !member.returns) {
    change(turn, { members: turn.live.members.filter(({ name }) => name !== member.name) });
  } else relaunch(turn, member);
}

/** Slots that are new are launched; those beyond the last are asked to leave. The order of slots is the order of names. */
export function onScale(turn: Turn, wanted: readonly { name: string; node: string }[]): void {
  const { now } = turn;
  for (const { name, leaving, returns } of turn.live.members) {
    const isWanted = wanted.some((one) => one.name === name);
    // Who leaves by its own notice goes whatever is wanted; what is decided is whether another takes its slot.
    if (returns) changeMember(turn, name, { returns: isWanted });
    else if (isWanted === leaving) changeMember(turn, name, { leaving: !isWanted });
  }
  for (const [slot, { name, node }] of wanted.entries()) {
    if (memberOf(turn, name) !== undefined) continue;
    const incarnation = nextIncarnation(turn, name);
    const member = newMember({ name, slot, node, incarnation }, now);
    change(turn, { members: [...turn.live.members, member].sort((a, b) => a.slot - b.slot) });
    want(turn, launchOf(member));
  }
  tell(turn, "Scaled", `${wanted.length} members are wanted`);
}

/** Above every incarnation of that name that ever was, so that its messages are never taken for an older one's. */
function nextIncarnation(turn: Turn, name: string): number {
  const before = turn.live.incarnations[name] ?? 0;
  change(turn, { incarnations: { ...turn.live.incarnations, [name]: before + 1 } });
  return before + 1;
}

/** Another incarnation takes the slot of a member that is gone. */
export function relaunch(turn: Turn, member: MemberState): void {
  const { name, slot, node } = member;
  const next = newMember({ name, slot, node, incarnation: nextIncarnation(turn, name) }, turn.now);
  changeMember(turn, name, next);
  want(turn, launchOf(next));
}

export function pay(turn: Turn, cause: string, sentence: string): void {
  const verdict = judgeFailure(cause, sentence, turn.live.spent, turn.base.spec.faultBudget);
  change(turn, { spent: verdict.spent });
  const code = cause === "user_error" ? "UserError" : cause === RESTART ? "Restarted" : "Fault";
  tell(turn, code, sentence, cause === RESTART ? "normal" : "warning");
  if (!verdict.goOn) turn.failed = verdict.reason;
}

/** Seats that nobody sits in any more: a prepared generation is given up, a running one is broken. */
function leaveSeats(
  turn: Turn,
  left: (seat: Seat) => boolean,
  cause: string,
  sentence: string,
): void {
  if (partakers(turn.live.prepared).some(left))
    discardPrepared(turn, { code: "SeatLost", sentence });
  if (turn.live.committed?.seats.some(left)) breakGeneration(turn, cause, sentence);
}

/** The committed generation cannot go on as it is; its survivors report where they stopped. */
function breakGeneration(turn: Turn, cause: string, sentence: string): void {
  const { committed, fault, step } = turn.live;
  if (committed === null) return;
  if (committed.mode !== "broken") {
    change(turn, { committed: { ...committed, mode: "broken", brokenSinceMs: turn.now } });
  }
  if (fault === null || fault.cause === "communication") {
    change(turn, { fault: { cause, sinceMs: fault?.sinceMs ?? turn.now, step } });
  }
  turn.reason = { code: "Resharding", sentence };
  abortHalfStaged(turn);
}

/** A process that starts has heard nobody yet: silence and waits count from now, not from before it was away. */
export function silenceAll(live: Live, now: number): Live {
  return {
    ...live,
    waitingSinceMs: null,
    members: live.members.map((member) =>
      member.state === "lost" ? member : { ...member, silentSinceMs: now },
    ),
  };
}
