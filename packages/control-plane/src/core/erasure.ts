/**
 * Deletion. What is wanted is written first: an effect `erase` in the outbox, which a crash cannot take. It is done
 * last, when nothing else of the job is left to do; it takes the checkpoints before the row that remembers them.
 */
import { end } from "./ending.ts";
import type { JobEvent } from "./events.ts";
import type { Decision, Effect, JobState } from "./state.ts";
import { stay } from "./turn.ts";

type Erase = Extract<Effect, { readonly kind: "erase" }>;

/** What is to be erased of the job; null while nobody wants it deleted. */
export function erasureOf(state: Pick<JobState, "effects">): Erase | null {
  return state.effects.find((effect) => effect.kind === "erase") ?? null;
}

/** The effects that may be done now: to erase waits for all others, which would write what is erased anew. */
export function effectsDue({ effects }: Pick<JobState, "effects">): readonly Effect[] {
  return effects.filter(({ kind }) => kind !== "erase" || effects.length === 1);
}

/**
 * Marks the job as deleted. One that waits or trains is cancelled; one that is being finished is finished first: its
 * hash and exports read what would be erased. Asked again, more can be wanted, not less.
 */
export function onDelete(
  state: JobState,
  event: Extract<JobEvent, { readonly kind: "delete" }>,
  now: number,
): Decision {
  const before = erasureOf(state);
  const checkpoints = event.checkpoints || before?.checkpoints === true;
  if (before?.checkpoints === checkpoints) return stay(state);
  const sentence = checkpoints
    ? "is deleted with its checkpoints"
    : "is deleted; its checkpoints stay";
  const reason = { code: "Deleting", sentence };
  const isAtWork = state.phase === "queued" || state.phase === "active";
  const ended = isAtWork ? end(state, "cancelled", reason, now).state : state;
  const others = ended.effects.filter(({ kind }) => kind !== "erase");
  const erase: Erase = before ?? { id: "erase:1", kind: "erase", tries: 1, checkpoints };
  return {
    state: { ...ended, reason, effects: [...others, { ...erase, checkpoints }] },
    told: [{ reason, severity: "normal" }],
    generation: null,
  };
}
