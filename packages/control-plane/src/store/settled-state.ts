/**
 * A job's state in two parts. What it is and what its generation is (spec, plans, layout, block map: with a thousand
 * members a megabyte) changes a few times in its life; the rest changes with every step. The journal writes the first
 * part only when it changes.
 */
import { type JobState, type Live, liveOf } from "../core/state.ts";

/** The part that seldom changes. */
export interface Settled extends Pick<JobState, "spec" | "submittedPlan"> {
  /** null where there are no members and never were. */
  readonly live: Pick<Live, "plan" | "facts" | "committed"> | null;
}

/** The part that seldom changes, of a state. */
export function settledOf(state: JobState): Settled {
  const { spec, submittedPlan } = state;
  const live = liveOf(state);
  if (live === null) return { spec, submittedPlan, live };
  const { plan, facts, committed } = live;
  return { spec, submittedPlan, live: { plan, facts, committed } };
}

/**
 * Both are the same objects. A decision keeps what it does not change, so different objects mean that something may
 * have changed, and the same objects that nothing has.
 */
export function isSettledSame(one: Settled, other: Settled): boolean {
  return (
    one.spec === other.spec &&
    one.submittedPlan === other.submittedPlan &&
    one.live?.plan === other.live?.plan &&
    one.live?.facts === other.live?.facts &&
    one.live?.committed === other.live?.committed
  );
}

/** JSON of a state without its settled part. */
export function changingText(state: JobState): string {
  const live = liveOf(state);
  const none = { plan: undefined, facts: undefined, committed: undefined };
  const changing = live === null ? {} : { live: { ...live, ...none } };
  return JSON.stringify({ ...state, spec: undefined, submittedPlan: undefined, ...changing });
}

/** The state of a row; `settled` is null where the first column holds all of it. */
export function stateOf(changing: string, settled: string | null): JobState {
  const rest = JSON.parse(changing) as JobState;
  if (settled === null) return rest;
  const { live, ...frame } = JSON.parse(settled) as Settled;
  return {
    ...rest,
    ...frame,
    ...(live === null ? {} : { live: { ...liveOf(rest), ...live } }),
  } as JobState;
}
