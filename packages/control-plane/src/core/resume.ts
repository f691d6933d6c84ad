/** Where the state of the next generation comes from: living ranks, a checkpoint, or the beginning. */
import type { CommittedGeneration, Holding } from "./state.ts";

export interface Candidate {
  readonly member: string;
  readonly slot: number;
  readonly incarnation: number;
  readonly localRank: number;
  readonly pid: number;
  readonly node: string;
  readonly holding: Holding | null;
}

export type SourceChoice =
  /** Ranks of the committed generation that hold (or can finish) this version. */
  | {
      readonly kind: "live";
      readonly targetVersion: number;
      readonly holders: ReadonlyMap<number, Candidate>;
    }
  | { readonly kind: "elsewhere"; readonly sentence: string };

/**
 * The highest version that any survivor has applied: its commit point was a barrier, so everybody else has it too or
 * can finish it from what is pending. A rank that passed nothing computes the step again, bit for bit.
 */
export function chooseSource(
  committed: CommittedGeneration | null,
  candidates: readonly Candidate[],
): SourceChoice {
  if (committed === null) return { kind: "elsewhere", sentence: "nothing was trained yet" };
  const holders = candidates.filter(({ holding }) => holding?.generation === committed.number);
  if (holders.length === 0)
    return { kind: "elsewhere", sentence: "no rank of the last generation is left" };
  const targetVersion = Math.max(...holders.map(({ holding }) => holding?.version ?? 0));
  const able = holders.filter(
    ({ holding }) =>
      holding !== null &&
      (holding.version === targetVersion ||
        (holding.version === targetVersion - 1 && holding.pending)),
  );
  return {
    kind: "live",
    targetVersion,
    holders: new Map(able.map((candidate) => [candidate.holding?.rank ?? -1, candidate])),
  };
}
