/** The last step of a block map: who holds the copies of a block besides its owner. */

import type { Holding, MapRank } from "./block-map.ts";
import { counted, isAlike, NOBODY } from "./block-owners.ts";
import { costRows, exchangeToCheapest, pricePerShare } from "./exchange.ts";
import { shareByWeight } from "./shares.ts";

export interface ReplicaRequest {
  readonly ranks: readonly MapRank[];
  readonly owners: Int32Array;
  /** Who held what before, in new rank numbers. */
  readonly before: Holding;
  /** Copies of every block, the owner's included, at most as many as there are ranks. */
  readonly copies: number;
}

/**
 * An owner's replicas are spread over this many ranks where there are so many: when it dies, each of them becomes
 * owner of a part that it already holds and nothing has to move first. More would cut the map into crumbs.
 */
const SPREAD_MAX = 8;

interface Placing {
  readonly request: ReplicaRequest;
  readonly replicas: number[][];
  /** Replicas a rank may still take before it holds more than its share. */
  readonly room: number[];
  /** Ranks that may hold a replica of what `owner` owns: of other failure domains where there are any. */
  readonly allowed: readonly (readonly number[])[];
  /** How many replicas of an owner's blocks a rank holds, [owner][rank], and how many it should. */
  readonly shared: readonly number[][];
  readonly sharedMax: readonly number[];
}

/**
 * Replica holders of every block, ascending. Where a copy is already it stays, unless its holder became the owner or
 * shares the owner's failure domain while another exists. The rest is spread by weight. Where failure domains are
 * so unequal that both cannot be had, the domain wins over the even spread: a copy that dies with its owner is none.
 */
export function placeReplicas(request: ReplicaRequest): number[][] {
  const { ranks, owners, copies } = request;
  const wanted = copies - 1;
  if (wanted === 0) return Array.from(owners, () => []);
  if (copies >= ranks.length) {
    const others = ranks.map(({ rank }) => ranks.map((one) => one.rank).filter((r) => r !== rank));
    return Array.from(owners, (owner) => others[owner] ?? []);
  }
  const allowed = ranks.map((owner) => allowedFor(owner, ranks, wanted));
  const placing: Placing = {
    request,
    replicas: Array.from(owners, () => []),
    room: roomFor(request, wanted),
    allowed,
    shared: ranks.map(() => Array<number>(ranks.length).fill(0)),
    sharedMax: counted(owners, ranks.length).map((blocks, owner) =>
      Math.ceil((blocks * wanted) / Math.min(SPREAD_MAX, allowed[owner]?.length ?? 1)),
    ),
  };
  keepReplicas(placing, wanted);
  fillReplicas(placing, wanted);
  moveLeast(placing, wanted);
  if (wanted > 1) for (const holders of placing.replicas) holders.sort((a, b) => a - b);
  return placing.replicas;
}

function roomFor(request: ReplicaRequest, wanted: number): number[] {
  const held = request.ranks.map(() => 0);
  for (const holders of request.before.replicas) {
    for (const rank of holders) held[rank] = (held[rank] ?? 0) + 1;
  }
  const weights = request.ranks.map((rank) => rank.weight);
  return shareByWeight(request.owners.length * wanted, weights, (rank, larger) =>
    Math.min(held[rank] ?? 0, larger),
  );
}

/** Candidates in cyclic order after the owner: neighbours back up one another, so few members share a fate. */
export function allowedFor(owner: MapRank, ranks: readonly MapRank[], wanted: number): number[] {
  const others = [...ranks.slice(owner.rank + 1), ...ranks.slice(0, owner.rank)];
  const elsewhere = others.filter((rank) => rank.failureDomain !== owner.failureDomain);
  return (elsewhere.length >= wanted ? elsewhere : others).map(({ rank }) => rank);
}

function keepReplicas(placing: Placing, wanted: number): void {
  const { replicas, room } = placing;
  for (let block = 0; block < replicas.length; block++) {
    for (const rank of mayStay(placing, block)) {
      if ((replicas[block] ?? []).length >= wanted) break;
      if ((room[rank] ?? 0) > 0) take(placing, block, rank);
    }
  }
}

/** Ranks that hold the block already and may go on: its old replica holders, and its old owner after a move. */
function mayStay({ request, allowed }: Placing, block: number): number[] {
  const { owners, before } = request;
  const owner = before.owners[block] ?? NOBODY;
  const replicas = before.replicas[block] ?? [];
  if (owner === NOBODY && replicas.length === 0) return [];
  const old = owner === NOBODY ? replicas : [...replicas, owner];
  return old.filter((rank) => (allowed[owners[block] ?? NOBODY] ?? []).includes(rank));
}

function fillReplicas(placing: Placing, wanted: number): void {
  const { replicas, room } = placing;
  for (let block = 0; block < replicas.length; block++) {
    while ((replicas[block] ?? []).length < wanted) {
      const rank = besideOrRoomiest(placing, block);
      // Where only ranks that may not take it have room left the share is exceeded; the exchange evens it out.
      take(
        placing,
        block,
        rank === NOBODY ? leastLoaded(freeCandidates(placing, block), room) : rank,
      );
    }
  }
}

/**
 * Of all placements with these owners that keep replicas out of the owner's failure domain, one that is as even as can be
 * and, among those, sends the fewest: a rank that did not hold the block costs 1.
 */
function moveLeast({ request, replicas, allowed }: Placing, wanted: number): void {
  const { ranks, owners, before } = request;
  const isLikeBefore = (block: number): boolean =>
    owners[block] === owners[block - 1] && isAlike(before, block);
  const costs = costRows(owners.length, isLikeBefore, (block) => {
    const owner = owners[block] ?? NOBODY;
    const may = new Set(allowed[owner]);
    const old = new Set([...(before.replicas[block] ?? []), before.owners[block]]);
    return ranks.map(({ rank }) =>
      may.has(rank) ? Number(!old.has(rank)) : Number.POSITIVE_INFINITY,
    );
  });
  // A cycle of moves has one arc per rank: evenness weighs more than all of them.
  const weights = ranks.map((rank) => rank.weight);
  const oneMore = pricePerShare(owners.length * wanted, weights, ranks.length + 1);
  exchangeToCheapest({ ranks: ranks.length, holders: replicas, costs, oneMore });
}

function besideOrRoomiest(placing: Placing, block: number): number {
  const rank = beside(placing, block);
  return rank === NOBODY ? roomiest(placing, block, freeCandidates(placing, block)) : rank;
}

/** A holder of the block before of the same owner, so that runs stay long, until it has its share; else `NOBODY`. */
function beside({ request, replicas, room, shared, sharedMax }: Placing, block: number): number {
  const owner = request.owners[block] ?? NOBODY;
  if (request.owners[block - 1] !== owner) return NOBODY;
  const holders = replicas[block] ?? [];
  for (const rank of replicas[block - 1] ?? []) {
    const isBelow = (shared[owner]?.[rank] ?? 0) < (sharedMax[owner] ?? 0);
    if (isBelow && (room[rank] ?? 0) > 0 && !holders.includes(rank)) return rank;
  }
  return NOBODY;
}

function freeCandidates({ request, replicas, allowed }: Placing, block: number): number[] {
  const holders = replicas[block] ?? [];
  return (allowed[request.owners[block] ?? NOBODY] ?? []).filter((rank) => !holders.includes(rank));
}

/** Of those below their share of this owner's blocks, if any, who has most room; `NOBODY` when all are full. */
function roomiest(placing: Placing, block: number, candidates: readonly number[]): number {
  const { request, room, shared, sharedMax } = placing;
  const owner = request.owners[block] ?? NOBODY;
  const free = candidates.filter((rank) => (room[rank] ?? 0) > 0);
  const below = free.filter((rank) => (shared[owner]?.[rank] ?? 0) < (sharedMax[owner] ?? 0));
  return (below.length > 0 ? below : free).reduce(
    (best, rank) => (best === NOBODY || (room[rank] ?? 0) > (room[best] ?? 0) ? rank : best),
    NOBODY,
  );
}

function leastLoaded(candidates: readonly number[], room: readonly number[]): number {
  return candidates.reduce((best, rank) => ((room[rank] ?? 0) > (room[best] ?? 0) ? rank : best));
}

function take({ request, replicas, room, shared }: Placing, block: number, rank: number): void {
  replicas[block]?.push(rank);
  add(room, rank, -1);
  add(shared[request.owners[block] ?? NOBODY], rank, 1);
}

function add(counts: number[] | undefined, at: number, amount: number): void {
  if (counts !== undefined) counts[at] = (counts[at] ?? 0) + amount;
}
