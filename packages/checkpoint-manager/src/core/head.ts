import type { Reason } from "@shardwright/job/faults";
import { newestFirst, parseCommitKey } from "./commit-key.ts";
import type { CommitRecord, Register } from "./commit-record.ts";
import type { Checked } from "./swc-problem.ts";

/** One register of a run as found, with what else is said of it. */
export interface Candidate {
  readonly key: string;
  readonly register: Checked<Register>;
  /** A tombstone names it. */
  readonly retired: boolean;
  /** Why it was quarantined, or null. */
  readonly quarantined: string | null;
}

export interface HeadChoice {
  readonly head: CommitRecord | null;
  /** Every register that was newer than the head and is not it, newest first. */
  readonly passedOver: readonly { readonly key: string; readonly reason: Reason }[];
}

/**
 * The checkpoint to resume from: the newest valid one by (generation, step, try). A commit of an older
 * generation, however high its step, is behind every commit of a newer one: it may be a zombie's.
 */
export function chooseHead(candidates: readonly Candidate[]): HeadChoice {
  const passedOver: { key: string; reason: Reason }[] = [];
  for (const candidate of sortNewestFirst(candidates)) {
    const reason = whyNot(candidate);
    const { register } = candidate;
    if (reason === null && register.ok && register.value.status === "committed") {
      return { head: register.value, passedOver };
    }
    if (reason !== null) passedOver.push({ key: candidate.key, reason });
  }
  return { head: null, passedOver };
}

/** Candidates in head order. */
export function sortNewestFirst<T extends { readonly key: string }>(
  candidates: readonly T[],
): readonly T[] {
  const nothing = { step: 0, generation: 0, try: 0 };
  return [...candidates].sort((one, other) =>
    newestFirst(parseCommitKey(one.key) ?? nothing, parseCommitKey(other.key) ?? nothing),
  );
}

function whyNot(candidate: Candidate): Reason | null {
  const { key, register } = candidate;
  if (candidate.retired) return { code: "Retired", sentence: `${key}: retired` };
  if (candidate.quarantined !== null) {
    return { code: "Quarantined", sentence: `${key}: quarantined: ${candidate.quarantined}` };
  }
  if (!register.ok)
    return {
      code: "Unreadable",
      sentence: `${register.problem.code}: ${register.problem.sentence}`,
    };
  if (register.value.status === "aborted") {
    return { code: "Aborted", sentence: `${key}: aborted: ${register.value.reason}` };
  }
  return null;
}
