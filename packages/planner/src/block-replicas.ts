/** The last step of a block map: who holds the copies of a block besides its owner. */

import type { Holding, MapRank } from "./block-map.ts";
import { NOBODY } from "./block-owners.ts";
import { shareByWeight } from "./shares.ts";

export interface ReplicaRequest {
  readonly ranks: readonly MapRank[];
  readonly owners: Int32Array;
  /** Who held what before, in new rank numbers. */
  readonly before: Holding;
  /** Copies of every block, the owner's included, at most as many as there are ranks. */
  readonly copies: number;
}

interface Placing {
  readonly request: ReplicaRequest;
  readonly replicas: number[][];
  /** Replicas a rank may still take before it holds more than its share. */
  readonly room: number[];
  /** Ranks that may hold a replica of what `owner` owns: of other failure domains where there are any. */
  readonly allowed: readonly (readonly number[])[];
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
  const placing: Placing = {
    request,
    replicas: Array.from(owners, () => []),
    room: roomFor(request, wanted),
    allowed: ranks.map((owner) => allowedFor(owner, ranks, wanted)),
  };
  keepReplicas(placing, wanted);
  fillReplicas(placing, wanted);
  for (const holders of placing.replicas) holders.sort((a, b) => a - b);
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
function allowedFor(owner: MapRank, ranks: readonly MapRank[], wanted: number): number[] {
  const others = [...ranks.slice(owner.rank + 1), ...ranks.slice(0, owner.rank)];
  const elsewhere = others.filter((rank) => rank.failureDomain !== owner.failureDomain);
  return (elsewhere.length >= wanted ? elsewhere : others).map(({ rank }) => rank);
}

function keepReplicas({ request, replicas, room, allowed }: Placing, wanted: number): void {
  const { owners, before } = request;
  for (let block = 0; block < owners.length; block++) {
    const owner = owners[block] ?? NOBODY;
    const old = [...(before.replicas[block] ?? []), before.owners[block] ?? NOBODY];
    for (const rank of old) {
      const holders = replicas[block] ?? [];
      if (rank === NOBODY || rank === owner || holders.length >= wanted) continue;
      if ((room[rank] ?? 0) > 0 && allowed[owner]?.includes(rank)) take(holders, room, rank);
    }
  }
}

function fillReplicas(placing: Placing, wanted: number): void {
  const { request, replicas, room } = placing;
  let maySwap = true;
  for (let block = 0; block < request.owners.length; block++) {
    const holders = replicas[block] ?? [];
    while (holders.length < wanted) {
      const candidates = freeCandidates(placing, block);
      const beside = replicas[block - 1] ?? [];
      const rank = roomiest(candidates, room, beside);
      if (rank !== NOBODY) {
        take(holders, room, rank);
        continue;
      }
      // Only ranks that may not take it have room left: exchange with a block that they may take.
      maySwap = maySwap && swap(placing, candidates, holders);
      if (!maySwap) take(holders, room, leastLoaded(candidates, room));
    }
  }
}

function freeCandidates({ request, replicas, allowed }: Placing, block: number): number[] {
  const holders = replicas[block] ?? [];
  return (allowed[request.owners[block] ?? NOBODY] ?? []).filter((rank) => !holders.includes(rank));
}

/** The holder of the block before while it has room, else who has most room; `NOBODY` when all are full. */
function roomiest(
  candidates: readonly number[],
  room: readonly number[],
  beside: readonly number[],
): number {
  let best = NOBODY;
  for (const rank of candidates) {
    const free = room[rank] ?? 0;
    if (free <= 0) continue;
    if (beside.includes(rank)) return rank;
    if (best === NOBODY || free > (room[best] ?? 0)) best = rank;
  }
  return best;
}

/** Frees one of the full `candidates` by giving one of its replicas to a rank with room; false when none can. */
function swap(placing: Placing, candidates: readonly number[], into: number[]): boolean {
  const { replicas, room } = placing;
  for (let block = 0; block < replicas.length; block++) {
    const holders = replicas[block] ?? [];
    if (holders === into) continue;
    const full = candidates.find((rank) => holders.includes(rank));
    if (full === undefined) continue;
    const other = freeCandidates(placing, block).find((rank) => (room[rank] ?? 0) > 0);
    if (other === undefined) continue;
    holders.splice(holders.indexOf(full), 1);
    take(holders, room, other);
    into.push(full); // Its room does not change: one replica left, one came.
    return true;
  }
  return false;
}

function leastLoaded(candidates: readonly number[], room: readonly number[]): number {
  return candidates.reduce((best, rank) => ((room[rank] ?? 0) > (room[best] ?? 0) ? rank : best));
}

function take(holders: number[], room: number[], rank: number): void {
  holders.push(rank);
  room[rank] = (room[rank] ?? 0) - 1;
}
