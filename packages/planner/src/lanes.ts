/**
 * Lanes: the unit of gradient work. A step has G lanes, G fixed for the job; they go whole and contiguous to
 * ranks, and their gradients are summed in one perfect binary tree over the lane index, whoever computed them.
 */
import type { LaneRange } from "./parallel-plan.ts";
import { shareByWeight } from "./shares.ts";

/** A maximal aligned run of lanes [lo, lo + size): size is a power of two and divides lo. */
export interface TreeNode {
  readonly lo: number;
  readonly size: number;
}

/**
 * Contiguous lanes for ranks 0…n−1. Equal weights: each gets ⌊G/N⌋, the first G mod N one more. Other weights:
 * largest remainder, ties to the lower rank. A rank goes without lanes only when there are fewer lanes than ranks.
 */
export function assignLanes(lanesCount: number, weights: readonly number[]): LaneRange[] {
  const shares = shareByWeight(lanesCount, weights);
  const counts = lanesCount < weights.length ? shares : withoutZeros(shares);
  let begin = 0;
  return counts.map((count, rank) => {
    const range = { rank, begin, end: begin + count };
    begin += count;
    return range;
  });
}

/** A very slow rank still gets one lane: it is in the gang, and its collectives would run for nothing. */
function withoutZeros(parts: number[]): number[] {
  for (let rank = 0; rank < parts.length; rank++) {
    if (parts[rank] !== 0) continue;
    const richest = parts.indexOf(Math.max(...parts));
    parts[richest] = (parts[richest] ?? 0) - 1;
    parts[rank] = 1;
  }
  return parts;
}

/** The maximal aligned power-of-two runs that tile [lo, hi): what a rank with these lanes sends. */
export function cover(lo: number, hi: number): TreeNode[] {
  const nodes: TreeNode[] = [];
  let at = lo;
  while (at < hi) {
    let size = 1;
    while (at % (size * 2) === 0 && at + size * 2 <= hi) size *= 2;
    nodes.push({ lo: at, size });
    at += size;
  }
  return nodes;
}

/** Accumulators alive at once on a rank that sums lanes [lo, hi) with a stack: 1 + the deepest stack before a lane. */
export function liveAccumulators(lo: number, hi: number): number {
  let deepest = 0;
  for (let lane = lo; lane < hi; lane++) deepest = Math.max(deepest, cover(lo, lane).length);
  return 1 + deepest;
}

/** Accumulators alive at once on the worst of `ranks` equal ranks. */
export function liveMax(lanesCount: number, ranks: number): number {
  return maxOver(lanesCount, ranks, (range) => liveAccumulators(range.begin, range.end));
}

/** d: partial sums sent by the rank that sends most, of `ranks` equal ranks. */
export function partialsMax(lanesCount: number, ranks: number): number {
  return maxOver(lanesCount, ranks, (range) => cover(range.begin, range.end).length);
}

/** E(N): the share of rank time that has work, G / (N·⌈G/N⌉). */
export function laneEfficiency(lanesCount: number, ranks: number): number {
  return lanesCount / (ranks * Math.ceil(lanesCount / ranks));
}

function maxOver(lanesCount: number, ranks: number, of: (range: LaneRange) => number): number {
  const equal = Array<number>(ranks).fill(1);
  return Math.max(...assignLanes(lanesCount, equal).map(of));
}
