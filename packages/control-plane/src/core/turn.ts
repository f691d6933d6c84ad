/** One decision in the making: local to a call of `decide`, never kept. */
import type { Reason } from "@shardwright/job";
import type { Policy } from "./policy.ts";
import type {
  Decision,
  Effect,
  GenerationRow,
  JobBase,
  JobState,
  Live,
  MemberState,
  RankSlot,
  Told,
} from "./state.ts";

export interface Turn {
  readonly base: JobBase;
  readonly now: number;
  readonly policy: Policy;
  live: Live;
  effects: readonly Effect[];
  readonly told: Told[];
  generation: GenerationRow | null;
  reason: Reason;
  /** Set when the job must end now. */
  failed: Reason | null;
}

export function beginTurn(base: JobBase, live: Live, now: number, policy: Policy): Turn {
  return {
    base,
    now,
    policy,
    live,
    effects: base.effects,
    told: [],
    generation: null,
    reason: base.reason,
    failed: null,
  };
}

export function tell(
  turn: Turn,
  code: string,
  sentence: string,
  severity: Told["severity"] = "normal",
): void {
  turn.told.push({ reason: { code, sentence }, severity });
}

/** Asks the shell for something, once: an effect with this id that is outstanding already stays. */
export function want(turn: Turn, effect: Effect): void {
  if (turn.effects.some(({ id }) => id === effect.id)) return;
  turn.effects = [...turn.effects, effect];
}

export function drop(turn: Turn, id: string): void {
  turn.effects = turn.effects.filter((effect) => effect.id !== id);
}

export function change(turn: Turn, part: Partial<Live>): void {
  turn.live = { ...turn.live, ...part };
}

export function memberOf(turn: Turn, name: string): MemberState | undefined {
  return turn.live.members.find((member) => member.name === name);
}

export function changeMember(turn: Turn, name: string, part: Partial<MemberState>): void {
  change(turn, {
    members: turn.live.members.map((member) =>
      member.name === name ? { ...member, ...part } : member,
    ),
  });
}

/** Changes every rank slot that matches. */
export function changeRanks(
  turn: Turn,
  matches: (member: MemberState, rank: RankSlot) => boolean,
  part: Partial<RankSlot>,
): void {
  change(turn, {
    members: turn.live.members.map((member) => ({
      ...member,
      ranks: member.ranks.map((rank) => (matches(member, rank) ? { ...rank, ...part } : rank)),
    })),
  });
}

/** Nothing changes. */
export function stay(state: JobState): Decision {
  return { state, told: [], generation: null };
}
