import { type Candidate, chooseHead, sortNewestFirst } from "./head.ts";

/** Fewer than two would leave nothing to fall back to when the newest is damaged. */
export const KEEP_LAST_MIN = 2;
export const KEEP_LAST_DEFAULT = 3;

export interface RetentionPolicy {
  /** Commits kept, the head included. */
  readonly keepLast: number;
}

/** What must stay whatever the policy says. */
export interface Holds {
  /** Commit keys that an undecided save names as parents. */
  readonly parentsOfUndecided: ReadonlySet<string>;
  readonly pinned: ReadonlySet<string>;
}

/**
 * Commits to retire, oldest first. Never the head, a parent of an undecided save, a pinned or a quarantined
 * commit, nor a register that cannot be read (its data may be live). Counted in head order: a run has one
 * lineage, and a zombie's commit of an older generation stands behind it.
 */
export function chooseVictims(
  candidates: readonly Candidate[],
  policy: RetentionPolicy,
  holds: Holds,
): readonly string[] {
  const { head } = chooseHead(candidates);
  if (head === null) return [];
  const live = sortNewestFirst(candidates).filter(
    ({ register, retired, quarantined }) =>
      register.ok && register.value.status === "committed" && !retired && quarantined === null,
  );
  const kept = new Set(
    live.slice(0, Math.max(policy.keepLast, KEEP_LAST_MIN)).map(({ key }) => key),
  );
  return live
    .map(({ key }) => key)
    .filter((key) => !kept.has(key) && !holds.parentsOfUndecided.has(key) && !holds.pinned.has(key))
    .reverse();
}
