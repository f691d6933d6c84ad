/** Planned departures: a member that gives notice hands over what only it holds, then another takes its slot. */

import type { MemberEvent } from "./events.ts";
import { relaunch } from "./members.ts";
import { partakers } from "./prepared.ts";
import { abortSaveOf } from "./saves.ts";
import type { GenerationPlan, MemberState } from "./state.ts";
import { change, changeMember, memberOf, type Turn, tell, want } from "./turn.ts";

/** Notice of a member: asked by a signal, its node is drained or preempted. It trains on until it is released. */
export function onLeaving(
  turn: Turn,
  event: Extract<MemberEvent, { readonly kind: "leaving" }>,
): void {
  const member = memberOf(turn, event.member);
  // Notice comes again with every new session.
  if (member === undefined || member.leaving) return;
  tell(turn, "MemberLeaving", `member ${event.member} leaves: ${event.why}`);
  const leaver = { ...member, leaving: true, returns: true };
  changeMember(turn, event.member, leaver);
  const { prepared, committed } = turn.live;
  const sits = (plan: GenerationPlan | null): boolean =>
    partakers(plan).some((seat) => isSeatOf(leaver, seat));
  if (!sits(prepared) && !sits(committed)) release(turn, leaver);
}

function isSeatOf(
  { name, incarnation }: MemberState,
  seat: { readonly member: string; readonly incarnation: number },
): boolean {
  return seat.member === name && seat.incarnation === incarnation;
}

/** Who leaves and has no seat in the new generation is released. Notice given while it was made waits for the next. */
export function dismissLeavers(turn: Turn, seats: GenerationPlan["seats"]): void {
  const leavers = turn.live.members.filter(
    (member) => member.leaving && !seats.some((seat) => isSeatOf(member, seat)),
  );
  for (const member of leavers) release(turn, member);
}

function release(turn: Turn, member: MemberState): void {
  const { name, incarnation, returns } = member;
  want(turn, { id: `stop:${name}:${incarnation}`, kind: "stopMember", member: name, incarnation });
  abortSaveOf(turn, name);
  if (returns) {
    tell(turn, "MemberLeft", `member ${name} has left; another one takes its place`);
    relaunch(turn, member);
  } else change(turn, { members: turn.live.members.filter((one) => one.name !== name) });
}
