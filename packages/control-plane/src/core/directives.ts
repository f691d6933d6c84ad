/**
 * What a member should have been told, from the state alone: level, not edge. Each directive has a key; a session
 * sends a key once, a new session sends them all again, and the agent knows what it has heard.
 */
import { partakers } from "./prepared.ts";
import type {
  DecidedSave,
  GenerationPlan,
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
  return directivesOf(state)(name);
}

/** The same for any member: what the state is searched for is found once, not once for each of them. */
export function directivesOf(state: JobState): (name: string) => readonly Directive[] {
  switch (state.phase) {
    case "queued":
      return () => [];
    case "active": {
      const { live } = state;
      const members = new Map(live.members.map((member) => [member.name, member]));
      const [committed, prepared] = [seatsOf(live.committed), seatsOf(live.prepared)];
      return (name) => {
        const member = members.get(name);
        // It was released: a generation without it runs.
        if (member === undefined) return [{ key: "stop", kind: "stop", why: "left" }];
        if (member.state === "lost") return [];
        const key = seatKey(name, member.incarnation);
        const seated = { committed: committed.has(key), prepared: prepared.has(key) };
        return whileActive(live, member, seated);
      };
    }
    case "finishing":
      return () => [{ key: "stop", kind: "stop", why: "complete" }];
    case "complete":
    case "failed":
    case "cancelled":
      return () => [{ key: "stop", kind: "stop", why: state.phase }];
    default:
      return state satisfies never;
  }
}

/** Who sits in a generation, by member and incarnation. */
function seatsOf(plan: GenerationPlan | null): ReadonlySet<string> {
  return new Set(partakers(plan).map(({ member, incarnation }) => seatKey(member, incarnation)));
}

function seatKey(member: string, incarnation: number): string {
  return `${member}/${incarnation}`;
}

function whileActive(
  live: Live,
  member: MemberState,
  seated: { readonly committed: boolean; readonly prepared: boolean },
): readonly Directive[] {
  const { committed, prepared, save } = live;
  const directives: Directive[] = [{ key: "load", kind: "load" }];
  for (const generation of live.discarded) {
    directives.push({ key: `discard:${generation}`, kind: "discard", generation });
  }
  if (committed !== null && seated.committed) {
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
  if (prepared !== null && seated.prepared) {
    directives.push({ key: `prepare:${prepared.number}`, kind: "prepare", plan: prepared });
  }
  return directives;
}
