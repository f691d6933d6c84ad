/**
 * What a member should have been told, from the state alone: level, not edge. Each directive has a key; a session
 * sends a key once, a new session sends them all again, and the agent knows what it has heard.
 */
import type {
  DecidedSave,
  JobState,
  Live,
  MemberState,
  PreparedGeneration,
  SaveState,
} from "./state.ts";

export type Directive = { readonly key: string } & (
  | { readonly kind: "load" }
  | { readonly kind: "prepare"; readonly plan: PreparedGeneration }
  | { readonly kind: "commit"; readonly generation: number; readonly step: number }
  | { readonly kind: "discard"; readonly generation: number }
  | { readonly kind: "persist"; readonly begun: NonNullable<SaveState["begun"]> }
  | { readonly kind: "decided"; readonly save: DecidedSave }
  | { readonly kind: "stop"; readonly why: string }
);

export function directivesFor(state: JobState, name: string): readonly Directive[] {
  switch (state.phase) {
    case "queued":
      return [];
    case "active": {
      const member = state.live.members.find((one) => one.name === name);
      return member === undefined || member.state === "lost" ? [] : whileActive(state.live, member);
    }
    case "finishing":
      return [{ key: "stop", kind: "stop", why: "complete" }];
    case "complete":
    case "failed":
    case "cancelled":
      return [{ key: "stop", kind: "stop", why: state.phase }];
    default:
      return state satisfies never;
  }
}

function whileActive(live: Live, member: MemberState): readonly Directive[] {
  const { committed, prepared, save } = live;
  const directives: Directive[] = [{ key: "load", kind: "load" }];
  const seatedIn = (plan: {
    readonly seats: readonly { member: string; incarnation: number }[];
  }): boolean =>
    plan.seats.some(
      (seat) => seat.member === member.name && seat.incarnation === member.incarnation,
    );
  for (const generation of live.discarded) {
    directives.push({ key: `discard:${generation}`, kind: "discard", generation });
  }
  if (committed !== null && seatedIn(committed)) {
    directives.push({
      key: `commit:${committed.number}`,
      kind: "commit",
      generation: committed.number,
      step: committed.step,
    });
    // Asked to pause, or broken in a way this member may not have noticed: stop at the next boundary.
    if (committed.mode !== "running") {
      directives.push({
        key: `discard:${committed.number}`,
        kind: "discard",
        generation: committed.number,
      });
    }
  }
  for (const decision of live.decidedSaves) {
    directives.push({
      key: `decided:${decision.generation}:${decision.step}`,
      kind: "decided",
      save: decision,
    });
  }
  if (save?.begun != null && save.staged.includes(member.name)) {
    directives.push({
      key: `persist:${save.begun.key.saveId}`,
      kind: "persist",
      begun: save.begun,
    });
  }
  if (prepared !== null && seatedIn(prepared)) {
    directives.push({ key: `prepare:${prepared.number}`, kind: "prepare", plan: prepared });
  }
  return directives;
}
