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
 * The highest step that passed its commit point on any survivor, applied or pending: that point was a barrier, so
 * everybody else has the step too or can finish it. A step that passed nowhere is computed again, bit for bit.
 */
export function chooseSource(
  committed: CommittedGeneration | null,
  candidates: readonly Candidate[],
): SourceChoice {
  if (committed === null) return { kind: "elsewhere", sentence: "nothing was trained yet" };
  const holders = new Map<number, Candidate>();
  let targetVersion = 0;
  for (const candidate of candidates) {
    const { holding } = candidate;
    if (holding?.generation !== committed.number) continue;
    holders.set(holding.rank, candidate);
    targetVersion = Math.max(targetVersion, holding.version + (holding.pending ? 1 : 0));
  }
  if (holders.size === 0) {
    return { kind: "elsewhere", sentence: "no rank of the last generation is left" };
  }
  for (const [rank, { holding }] of holders) {
    // Behind by more than one step it cannot be: what it holds is of no use.
    if ((holding?.version ?? 0) < targetVersion - 1) holders.delete(rank);
  }
  return { kind: "live", targetVersion, holders };
}
