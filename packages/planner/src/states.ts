/** Bytes of model states per element, scheme by scheme, and what of them a rank holds. */
import { blocksCount } from "./flat.ts";
import { assignLanes, cover, liveMax } from "./lanes.ts";
import type { ComputeDtype, ZeroStage } from "./parallel-plan.ts";

/** Bytes per trainable element: of the parameter as computed with, of its gradient, of its optimizer state. */
export interface StateScheme {
  readonly weights: number;
  readonly gradients: number;
  /** fp32 master (unless the parameter itself is fp32 and serves as it) and two fp32 moments. */
  readonly optimizer: number;
}

export const STATE_SCHEMES = {
  /** bf16 parameters and gradients, fp32 master and moments: the 16 bytes of the ZeRO paper. */
  paper: { weights: 2, gradients: 2, optimizer: 12 },
  /** bf16 parameters, fp32 gradient accumulators: what exact sums need. */
  bf16: { weights: 2, gradients: 4, optimizer: 12 },
  /** fp32 everything: the parameter is its own master. */
  fp32: { weights: 4, gradients: 4, optimizer: 8 },
} as const satisfies Record<string, StateScheme>;

/** The scheme our trainer holds its trainable parameters in. */
export function schemeOf(computeDtype: ComputeDtype): StateScheme {
  return computeDtype === "fp32" ? STATE_SCHEMES.fp32 : STATE_SCHEMES.bf16;
}

export function dtypeBytes(dtype: ComputeDtype): number {
  return dtype === "fp32" ? 4 : 2;
}

/** States of one rank in the closed form of the ZeRO paper: whole elements over N, no blocks, no lanes. Bytes. */
export function paperStateBytes(
  scheme: StateScheme,
  elements: number,
  at: { readonly stage: ZeroStage; readonly ranks: number },
): number {
  const { weights, gradients, optimizer } = scheme;
  const sharded =
    (at.stage >= 3 ? weights : 0) +
    (at.stage >= 2 ? gradients : 0) +
    (at.stage >= 1 ? optimizer : 0);
  const whole = weights + gradients + optimizer - sharded;
  return whole * elements + (sharded * elements) / at.ranks;
}

/** NF4 with double quantisation: 4 bits, an 8-bit scale per 64 values, a 32-bit one per 256 scales. */
const NF4_BITS_PER_16384 = 8_452 * 8;

/** Bytes of a frozen base whose layer linears are NF4 and whose rest stays 16 bits wide. Rounded up once. */
export function quantisedBaseBytes(card: { parameters: number; linearParameters: number }): number {
  const linear = Math.ceil((card.linearParameters * NF4_BITS_PER_16384) / (16_384 * 8));
  return linear + 2 * (card.parameters - card.linearParameters);
}

export interface BlockShare {
  readonly elements: number;
  readonly blockElements: number;
  readonly ranks: number;
  /** Copies of every block, the owner's included; at least `ranks` means every rank holds every block. */
  readonly copies: number;
}

/** Blocks of the rank that owns most, and the replicas beside them. */
export function heldBlocksMax(share: BlockShare): {
  readonly owned: number;
  readonly replicas: number;
} {
  const blocks = blocksCount(share.elements, share.blockElements);
  const owned = Math.ceil(blocks / share.ranks);
  if (share.copies >= share.ranks) return { owned, replicas: blocks - owned };
  return { owned, replicas: Math.ceil((blocks * (share.copies - 1)) / share.ranks) };
}

export interface GradientShare {
  readonly elements: number;
  readonly stage: ZeroStage;
  readonly ranks: number;
  readonly lanes: number;
  /** Bytes per element of the accumulator, of a gradient on the wire, and of what autograd writes beside it. */
  readonly accumulatorBytes: number;
  readonly wireBytes: number;
  readonly autogradBytes: number;
}

/**
 * Gradients of the rank that needs most. Stages 0 and 1: one accumulator and the partial sums that the canonical
 * tree keeps alive beside it. Stage 2: one accumulator, for a lane is sent when it is finished; what it is rounded
 * to for the wire goes where autograd wrote its own gradients, if there is such a place. Stage 3: a share.
 */
export function gradientBytes(share: GradientShare): number {
  const { elements, stage, ranks, lanes, accumulatorBytes, wireBytes } = share;
  if (stage === 3) return Math.ceil((accumulatorBytes * elements) / ranks);
  if (stage === 2 && ranks > 1) {
    const isCopied = wireBytes < accumulatorBytes && share.autogradBytes !== wireBytes;
    return (accumulatorBytes + (isCopied ? wireBytes : 0)) * elements;
  }
  return accumulatorBytes * elements + (liveMax(lanes, ranks) - 1) * wireBytes * elements;
}

/** Master and both moments, fp32: what a checkpoint stores and a transfer moves, whatever the rank computes in. */
export const STATE_BYTES_PER_ELEMENT = 12;

/**
 * Stage 2: partial sums of its own blocks that a holder keeps at once; 0 on a single rank. Lanes are dealt in rounds,
 * so after each of them lanes [0, m) are in and summed up in cover(0, m); then every rank sends one. A rank copies its
 * own part out of the accumulator, except in the last round.
 */
export function releasePartialsMax(lanes: number, ranks: number): number {
  if (ranks === 1) return 0;
  let most = 0;
  for (let first = 0; first < lanes; first += ranks) {
    const sent = Math.min(ranks, lanes - first);
    // In a short last round there is a rank that sends nothing and receives them all.
    const received = first + sent < lanes || sent < ranks ? sent : sent - 1;
    most = Math.max(most, cover(0, first).length + received);
  }
  return most;
}

export interface ExchangeShare {
  readonly stage: ZeroStage;
  readonly heldElements: number;
  readonly ranks: number;
  readonly lanes: number;
  readonly wireBytes: number;
}

/** Buffers in which gradients of other ranks arrive, of the rank that needs most. Bytes. */
export function exchangeBytes(share: ExchangeShare): number {
  if (share.stage !== 2) return arrivalBytes(share);
  return releasePartialsMax(share.lanes, share.ranks) * share.heldElements * share.wireBytes;
}

/**
 * Buffers for the partial sums of the other ranks: each of their nodes, cut to the blocks held here. Bytes of the
 * rank that receives most.
 */
export function arrivalBytes(share: {
  readonly heldElements: number;
  readonly ranks: number;
  readonly lanes: number;
  readonly wireBytes: number;
}): number {
  const nodes = assignLanes(share.lanes, Array<number>(share.ranks).fill(1)).map(
    ({ begin, end }) => cover(begin, end).length,
  );
  const all = nodes.reduce((sum, count) => sum + count, 0);
  return (all - Math.min(...nodes)) * share.heldElements * share.wireBytes;
}
