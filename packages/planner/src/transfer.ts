/** Which blocks move from whom to whom between two generations. */
import type { Reason } from "@shardwright/job";
import type { BlockMap, TransferMove, TransferPlan } from "./parallel-plan.ts";

export interface TransferRequest {
  readonly previous: BlockMap;
  readonly next: BlockMap;
  /** New rank of an old rank; null = it is gone and what it held with it. */
  readonly rankOf: (oldRank: number) => number | null;
  /** Bytes of state per element that a move carries: `STATE_BYTES_PER_ELEMENT`. */
  readonly stateBytesPerElement: number;
  readonly sourceGeneration: number;
  readonly targetGeneration: number;
}

export type TransferOutcome =
  | { readonly possible: true; readonly plan: TransferPlan }
  /** Blocks that no living rank holds: the state must come from a checkpoint. */
  | { readonly possible: false; readonly reason: Reason; readonly lost: readonly BlockSpan[] };

export interface BlockSpan {
  readonly firstBlock: number;
  readonly blocks: number;
}

/** Neighbouring blocks that the same rank needs and the same ranks can give. */
interface Need {
  readonly target: number;
  readonly sources: readonly number[];
  readonly firstBlock: number;
  blocks: number;
}

/**
 * Every new holder that does not hold its block yet gets it from a rank that does, once; nothing else moves. Where
 * several ranks hold a block the load is spread over them in contiguous pieces. Bytes are those that cross the wire:
 * a short last block is not padded. Deterministic.
 */
export function planTransfer(request: TransferRequest): TransferOutcome {
  const blocks = request.next.blocks;
  if (request.previous.blocks !== blocks) {
    throw new RangeError(`planTransfer: ${request.previous.blocks} blocks became ${blocks}`);
  }
  const living = livingHolders(request);
  const lost = spansWhere(blocks, (block) => (living[block] ?? []).length === 0);
  if (lost.length > 0) return { possible: false, reason: lostReason(lost, blocks), lost };
  const moves = spread(needsOf(request.next, living), request);
  return {
    possible: true,
    plan: {
      sourceGeneration: request.sourceGeneration,
      targetGeneration: request.targetGeneration,
      moves,
      totalBytes: moves.reduce((sum, move) => sum + move.bytes, 0),
    },
  };
}

function bytesOf({ next, stateBytesPerElement }: TransferRequest, span: BlockSpan): number {
  const begin = span.firstBlock * next.blockElements;
  const end = Math.min(begin + span.blocks * next.blockElements, next.elements);
  return (end - begin) * stateBytesPerElement;
}

/** Living holders of each block, ascending, in new rank numbers. Equal sets are one array. */
function livingHolders({ previous, rankOf }: TransferRequest): readonly number[][] {
  const living: number[][] = Array<number[]>(previous.blocks);
  const known = new Map<string, number[]>();
  for (const run of previous.runs) {
    const holders = run.holders
      .map((old) => rankOf(old))
      .filter((rank): rank is number => rank !== null)
      .sort((a, b) => a - b);
    const key = holders.join();
    if (!known.has(key)) known.set(key, holders);
    living.fill(known.get(key) ?? holders, run.firstBlock, run.firstBlock + run.blocks);
  }
  return living;
}

function spansWhere(blocks: number, holds: (block: number) => boolean): BlockSpan[] {
  const spans: { firstBlock: number; blocks: number }[] = [];
  for (let block = 0; block < blocks; block++) {
    if (!holds(block)) continue;
    const last = spans.at(-1);
    if (last !== undefined && last.firstBlock + last.blocks === block) last.blocks++;
    else spans.push({ firstBlock: block, blocks: 1 });
  }
  return spans;
}

function lostReason(lost: readonly BlockSpan[], blocks: number): Reason {
  const count = lost.reduce((sum, span) => sum + span.blocks, 0);
  const sentence = `no living rank holds ${count} of ${blocks} blocks, the first is block ${lost[0]?.firstBlock}; the state must be read from a checkpoint`;
  return { code: "BlocksLost", sentence };
}

/** What each new holder lacks, by target rank, then by block, in maximal runs. */
function needsOf(next: BlockMap, living: readonly number[][]): Need[] {
  const open = new Map<number, Need>();
  const needs: Need[] = [];
  const need = (target: number, block: number): void => {
    const sources = living[block] ?? [];
    if (sources.includes(target)) return;
    const last = open.get(target);
    if (last?.sources === sources && last.firstBlock + last.blocks === block) {
      last.blocks++;
      return;
    }
    const first: Need = { target, sources, firstBlock: block, blocks: 1 };
    open.set(target, first);
    needs.push(first);
  };
  for (const { holders, firstBlock, blocks } of next.runs) {
    for (const target of holders) {
      for (let block = firstBlock; block < firstBlock + blocks; block++) need(target, block);
    }
  }
  return needs.sort((a, b) => a.target - b.target || a.firstBlock - b.firstBlock);
}

/** Cuts each need into one contiguous piece per source, larger pieces to whoever sends least so far. */
function spread(needs: readonly Need[], request: TransferRequest): TransferMove[] {
  const sent = new Map<number, number>();
  const moves: TransferMove[] = [];
  for (const need of needs) {
    let firstBlock = need.firstBlock;
    for (const [source, blocks] of pieces(need, sent)) {
      const bytes = bytesOf(request, { firstBlock, blocks });
      const id = moves.length;
      moves.push({ id, firstBlock, blocks, sourceRank: source, targetRank: need.target, bytes });
      sent.set(source, (sent.get(source) ?? 0) + blocks);
      firstBlock += blocks;
    }
  }
  return merged(moves);
}

/** Levels the load: sources below the common level are filled up to it, in rank order. */
function pieces(need: Need, sent: ReadonlyMap<number, number>): [number, number][] {
  const load = (source: number): number => sent.get(source) ?? 0;
  const idlest = [...need.sources].sort((a, b) => load(a) - load(b) || a - b);
  let used = 1;
  let loadSum = load(idlest[0] ?? 0);
  // A source takes part while its load is below the level that the others reach without it.
  for (; used < idlest.length; used++) {
    const next = load(idlest[used] ?? 0);
    if ((loadSum + need.blocks) / used <= next) break;
    loadSum += next;
  }
  const level = Math.floor((loadSum + need.blocks) / used);
  let extra = loadSum + need.blocks - level * used;
  const shares: [number, number][] = [];
  for (const source of idlest.slice(0, used)) {
    const blocks = level - load(source) + (extra-- > 0 ? 1 : 0);
    if (blocks > 0) shares.push([source, blocks]);
  }
  return shares.sort(([a], [b]) => a - b);
}

/** Joins moves that continue one another between the same two ranks, and numbers them. */
function merged(moves: readonly TransferMove[]): TransferMove[] {
  const joined: TransferMove[] = [];
  for (const move of moves) {
    const last = joined.at(-1);
    const continues =
      last !== undefined &&
      last.sourceRank === move.sourceRank &&
      last.targetRank === move.targetRank &&
      last.firstBlock + last.blocks === move.firstBlock;
    if (continues) {
      joined[joined.length - 1] = {
        ...last,
        blocks: last.blocks + move.blocks,
        bytes: last.bytes + move.bytes,
      };
    } else joined.push({ ...move, id: joined.length });
  }
  return joined;
}
