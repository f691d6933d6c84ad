/** The first three steps of a block map: how many blocks a rank owns, which it keeps, who gets the rest. */
import type { Holding, MapRank } from "./block-map.ts";
import { shareByWeight } from "./shares.ts";

/** Nobody owns the block yet. */
export const NOBODY = -1;

/**
 * Blocks each rank shall own. The larger of two possible numbers goes to the ranks that can keep the most of what
 * they have: only so the movement reaches its lower bound B − Σ min(have, target).
 */
export function ownerTargets(
  ranks: readonly MapRank[],
  owners: Int32Array,
  blocks: number,
): number[] {
  const have = counted(owners, ranks.length);
  const weights = ranks.map((rank) => rank.weight);
  return shareByWeight(blocks, weights, (rank, larger) => Math.min(have[rank] ?? 0, larger));
}

/** What stays where it is: up to `targets` blocks a rank, its longest runs first. */
export function keepOwners(owners: Int32Array, targets: readonly number[]): Int32Array {
  const kept = owners.slice();
  const have = counted(owners, targets.length);
  targets.forEach((target, rank) => {
    if ((have[rank] ?? 0) > target) giveUp(kept, runsOfOwner(owners, rank), target);
  });
  return kept;
}

interface Run {
  readonly first: number;
  readonly blocks: number;
}

function runsOfOwner(owners: Int32Array, rank: number): Run[] {
  const runs: Run[] = [];
  let first = -1;
  for (let block = 0; block <= owners.length; block++) {
    const isOwned = block < owners.length && owners[block] === rank;
    if (isOwned && first < 0) first = block;
    if (!isOwned && first >= 0) {
      runs.push({ first, blocks: block - first });
      first = -1;
    }
  }
  return runs;
}

/** Frees all but `target` blocks of these runs; the shortest runs go first, the last cut leaves a head. */
function giveUp(kept: Int32Array, runs: readonly Run[], target: number): void {
  let room = target;
  const longestFirst = [...runs].sort((a, b) => b.blocks - a.blocks || a.first - b.first);
  for (const { first, blocks } of longestFirst) {
    const stays = Math.min(room, blocks);
    room -= stays;
    kept.fill(NOBODY, first + stays, first + blocks);
  }
}

export interface OrphanRequest {
  readonly ranks: readonly MapRank[];
  readonly before: Holding;
  /** Owners after step 2, `NOBODY` where a block is free. */
  readonly kept: Int32Array;
  readonly targets: readonly number[];
}

/** Gives every free block an owner that lacks one; see step 3 of `mapBlocks`. */
export function placeOrphans(request: OrphanRequest): Int32Array {
  const { ranks, before, kept, targets } = request;
  const owners = kept.slice();
  const have = counted(kept, ranks.length);
  const lacking = targets.map((target, rank) => target - (have[rank] ?? 0));
  const everyone = ranks.map(({ rank }) => rank);
  const domains = Map.groupBy(ranks, (rank) => rank.failureDomain);
  const inDomainOf = ranks.map((one) =>
    (domains.get(one.failureDomain) ?? []).map(({ rank }) => rank),
  );
  const neighbours = (block: number): readonly number[] =>
    inDomainOf[sourceOf(before, block) ?? NOBODY] ?? [];
  const passes = [(block: number) => before.replicas[block] ?? [], neighbours, () => everyone];
  for (const candidatesOf of passes) {
    for (let block = 0; block < owners.length; block++) {
      if (owners[block] !== NOBODY) continue;
      const owner = pick(candidatesOf(block), lacking, owners[block - 1]);
      if (owner === NOBODY) continue;
      owners[block] = owner;
      lacking[owner] = (lacking[owner] ?? 0) - 1;
    }
  }
  return owners;
}

/** The block before had the same holders in the same roles. */
export function isAlike(before: Holding, block: number): boolean {
  return (
    before.owners[block] === before.owners[block - 1] &&
    before.replicas[block] === before.replicas[block - 1]
  );
}

/** Where a free block can come from: its old owner, or a surviving replica holder. */
function sourceOf(before: Holding, block: number): number | undefined {
  const owner = before.owners[block] ?? NOBODY;
  return owner === NOBODY ? before.replicas[block]?.[0] : owner;
}

/** The owner of the block before, so that runs stay long; else who lacks the most, the lower rank on a tie. */
function pick(
  candidates: readonly number[],
  lacking: readonly number[],
  beside: number | undefined,
): number {
  if (beside !== undefined && (lacking[beside] ?? 0) > 0 && candidates.includes(beside))
    return beside;
  let best = NOBODY;
  for (const rank of candidates) {
    const lacks = lacking[rank] ?? 0;
    if (lacks <= 0) continue;
    const most = lacking[best] ?? 0;
    if (lacks > most || (lacks === most && rank < best)) best = rank;
  }
  return best;
}

/** Blocks per rank. */
export function counted(owners: Int32Array, ranks: number): number[] {
  const counts = Array<number>(ranks).fill(0);
  for (const owner of owners) {
    if (owner !== NOBODY) counts[owner] = (counts[owner] ?? 0) + 1;
  }
  return counts;
}
