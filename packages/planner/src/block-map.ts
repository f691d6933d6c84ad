/**
 * Which rank holds which block of the flat space. The trainer has no formula for ownership: what stands here
 * is what it allocates. Balanced by weight, moved as little as possible between generations, deterministic.
 */
import { keepOwners, ownerTargets, placeOrphans } from "./block-owners.ts";
import { placeReplicas } from "./block-replicas.ts";
import { blocksCount } from "./flat.ts";
import { ownersThatMoveLeast } from "./owner-moves.ts";
import type { BlockMap, BlockRun } from "./parallel-plan.ts";

export interface MapRank {
  /** Ranks are 0…n−1 of the new generation, in this order. */
  readonly rank: number;
  /** Share of the blocks it can take (memory left, measured speed), relative to the others. */
  readonly weight: number;
  /** What fails together: a node, a machine, a rack. */
  readonly failureDomain: string;
}

/** The map before, and where its ranks are now. */
export interface PreviousMap {
  readonly map: BlockMap;
  /** New rank of an old rank; null = it is gone and what it held with it. */
  readonly rankOf: (oldRank: number) => number | null;
}

export interface MapRequest {
  readonly elements: number;
  readonly blockElements: number;
  readonly ranks: readonly MapRank[];
  /** Copies of every block, the owner's included; more than there are ranks means every rank. */
  readonly copies: number;
  readonly previous?: PreviousMap;
}

/** Ownership block by block: the form the deciding steps work on. */
export interface Holding {
  /** Owner of each block; −1 = not decided yet. */
  readonly owners: Int32Array;
  /** Replica holders of each block. */
  readonly replicas: readonly number[][];
}

/**
 * The block map of a generation.
 * 1. How many blocks each rank owns: by weight, one block more for those that can keep the most.
 * 2. Survivors keep what they own, up to that number, in the longest runs.
 * 3. What is left goes to ranks that lack blocks: to a holder of a replica, else in the old owner's failure domain,
 *    else in long runs. As many blocks change owner as must, not one more.
 * 4. Owners are exchanged where that lets more replicas stay, at no further change of owner; see owner-moves.ts.
 * 5. Replicas: in another failure domain than the owner, evenly, and as many as can be where the block is already.
 *
 * What must be sent. Let held(r) be the blocks that rank r, in the new world, held before, total(r) those that it
 * shall hold, H(b) the ranks left that held block b, B the blocks, c the copies. A rank lacks at least
 * total(r) − held(r) blocks and a block at least c − |H(b)| copies, each of which is sent once (transfer.ts), so any map sends
 *   owners   ≥ B − Σ_r min(owned(r), target(r)),
 *   copies   ≥ max( Σ_r max(0, total(r) − held(r)), Σ_b max(0, c − |H(b)|) ).
 * N → N+1 is the first: what the newcomer holds, c/(N+1) of the state. N → N−1 is the second: the copies of the leaver,
 * c/N of the state. Owners reach their bound always: ranks keep min(owned, target) each, and targets give the larger
 * number to those that keep the most with it. Given the owners, the replicas are a minimum too (exchange.ts has the
 * proof). Together they are the bound itself for every join with a failure domain per rank, and for all but a few in a
 * thousand leaves with 2 copies, where it is missed by a block or two: who becomes owner is chosen block by block, and rarely
 * the ranks with room for a copy are just the ones that own it. Where failure domains are shared, or with 3
 * copies and more, the bound need not be reachable at all.
 */
export function mapBlocks(request: MapRequest): BlockMap {
  checkRanks(request);
  const blocks = blocksCount(request.elements, request.blockElements);
  const before = previousHolding(request.previous, blocks);
  const targets = ownerTargets(request.ranks, before.owners, blocks);
  const kept = keepOwners(before.owners, targets);
  const placed = placeOrphans({ ranks: request.ranks, before, kept, targets });
  const { ranks } = request;
  const copies = Math.min(request.copies, ranks.length);
  const isChosen = copies > 1 && copies < ranks.length;
  const owners = isChosen ? ownersThatMoveLeast({ ranks, before, owners: placed, copies }) : placed;
  const replicas = placeReplicas({ ranks, owners, before, copies });
  return {
    elements: request.elements,
    blockElements: request.blockElements,
    blocks,
    runs: runsOf(owners, replicas),
  };
}

function checkRanks(request: MapRequest): void {
  if (request.ranks.length === 0) throw new RangeError("mapBlocks: no ranks");
  if (!(request.copies >= 1))
    throw new RangeError(`mapBlocks: copies ${request.copies} is below 1`);
  request.ranks.forEach(({ rank, weight }, index) => {
    if (rank !== index) throw new RangeError(`mapBlocks: rank ${rank} stands at place ${index}`);
    if (!(weight > 0)) throw new RangeError(`mapBlocks: rank ${rank} has weight ${weight}`);
  });
}

/** The previous map in new rank numbers: what is gone is −1, and a map of another space counts for nothing. */
function previousHolding(previous: PreviousMap | undefined, blocks: number): Holding {
  const owners = new Int32Array(blocks).fill(-1);
  const replicas: number[][] = Array.from({ length: blocks }, () => []);
  if (previous === undefined) return { owners, replicas };
  if (previous.map.blocks !== blocks) {
    throw new RangeError(
      `mapBlocks: previous map has ${previous.map.blocks} blocks, not ${blocks}`,
    );
  }
  for (const run of previous.map.runs) {
    const [owner, ...others] = run.holders.map((old) => previous.rankOf(old));
    const alive = others.filter((rank): rank is number => rank !== null);
    for (let block = run.firstBlock; block < run.firstBlock + run.blocks; block++) {
      owners[block] = owner ?? -1;
      replicas[block] = alive;
    }
  }
  return { owners, replicas };
}

/** Run-length codes neighbouring blocks with equal holders. */
function runsOf(owners: Int32Array, replicas: readonly (readonly number[])[]): BlockRun[] {
  const runs: { firstBlock: number; blocks: number; holders: number[] }[] = [];
  owners.forEach((owner, block) => {
    const others = replicas[block] ?? [];
    const last = runs.at(-1);
    if (last !== undefined && isSame(last.holders, owner, others)) {
      last.blocks++;
    } else {
      runs.push({ firstBlock: block, blocks: 1, holders: [owner, ...others] });
    }
  });
  return runs;
}

function isSame(holders: readonly number[], owner: number, others: readonly number[]): boolean {
  return (
    holders.length === others.length + 1 &&
    holders[0] === owner &&
    others.every((rank, index) => holders[index + 1] === rank)
  );
}

/**
 * Where copies of a map's blocks are put besides: with the owner, and with others in another failure domain, those that
 * hold the block already before those that would have to be sent it. Owners are those of the map; where all ranks
 * fail together a further copy would be none, so there is the owner's alone.
 */
export function mapCopies(map: BlockMap, ranks: readonly MapRank[], copies: number): BlockMap {
  const domains = new Set(ranks.map(({ failureDomain }) => failureDomain)).size;
  const before = previousHolding({ map, rankOf: (rank) => rank }, map.blocks);
  const { owners } = before;
  const replicas = placeReplicas({ ranks, owners, before, copies: Math.min(copies, domains) });
  return { ...map, runs: runsOf(owners, replicas) };
}

/** Blocks a rank owns. */
export function ownedBlocks(map: BlockMap, rank: number): number {
  return countBlocks(map, (holders) => holders[0] === rank);
}

/** Blocks a rank holds as owner or as replica. */
export function heldBlocks(map: BlockMap, rank: number): number {
  return countBlocks(map, (holders) => holders.includes(rank));
}

function countBlocks(map: BlockMap, counts: (holders: readonly number[]) => boolean): number {
  return map.runs.reduce((sum, run) => sum + (counts(run.holders) ? run.blocks : 0), 0);
}
