/** Predicted time of an optimizer step on the busiest rank. */

import { type DeviceCard, GPU_CARDS } from "./gpu-card.ts";
import { partialsMax } from "./lanes.ts";
import type { ModelCard } from "./model-card.ts";
import type { Checkpointing, ZeroStage } from "./parallel-plan.ts";
import { heldBlocksMax } from "./states.ts";

/** Share of the sustained rate that a training step reaches before anything was measured. */
export const MFU_PRIOR = 0.4;
/** Share of the backward pass that hides gradient traffic. */
const OVERLAP_RATIO = 2 / 3;
/** Bytes AdamW reads and writes per element: state, gradient, parameter. */
const OPTIMIZER_BYTES_PER_ELEMENT = 30;
const MEMORY_EFFICIENCY = 0.8;
/** Launching the kernels of one layer forward and backward, whatever its size. Prior. */
const LAUNCH_SECONDS_PER_LAYER = 1e-3;

export interface WorkQuestion {
  readonly card: ModelCard;
  /** Adapter parameters; null = every parameter is trained. */
  readonly adapterElements: number | null;
  /** Tokens a token attends to on average ×2: the row length of a causal row of one document. */
  readonly spanTokens: number;
  readonly checkpointing: Checkpointing;
}

/** Parameters that take part in a matrix product: the head counts, an untied input embedding does not. */
export function matrixParameters(card: ModelCard): number {
  return card.parameters - (card.tied ? 0 : card.vocabulary * card.hidden);
}

/** Operations per token, causal attention counted once. A frozen base has no weight gradients. */
export function flopsPerToken(question: WorkQuestion): number {
  const { card, adapterElements, spanTokens, checkpointing } = question;
  const matrices = matrixParameters(card);
  const attention = card.layers * card.q * spanTokens;
  const dense = adapterElements === null ? 6 * matrices : 4 * matrices + 6 * adapterElements;
  const again =
    checkpointing === "full" ? 2 * (matrices - card.vocabulary * card.hidden) + 2 * attention : 0;
  return dense + 6 * attention + again;
}

/** The convention other projects report: no causal discount. For comparison only. */
export function torchtitanFlopsPerToken(card: ModelCard, spanTokens: number): number {
  const headSize = card.q / card.heads;
  return 6 * matrixParameters(card) + 6 * card.layers * card.heads * 2 * headSize * spanTokens;
}

export interface StepQuestion extends WorkQuestion {
  readonly device: DeviceCard;
  readonly threadsPerRank: number;
  /** Cores shared by all CPU ranks; Infinity where nobody shares. */
  readonly coresCount: number;
  readonly stage: ZeroStage;
  readonly ranks: number;
  readonly copies: number;
  readonly blockElements: number;
  readonly trainableElements: number;
  readonly lanes: number;
  /** Leaves of the tree in which gradients are summed: the lanes, or the ranks where the order was given up. */
  readonly leaves: number;
  readonly microBatchesPerLane: number;
  /** Tokens of a micro-batch. */
  readonly tokens: number;
  readonly wireBytes: number;
  readonly parameterBytes: number;
  /** Measured ÷ predicted of earlier runs; 1 = nothing known. */
  readonly speedRatio: number;
}

export interface StepSeconds {
  readonly total: number;
  readonly compute: number;
  /** Gradient traffic that the backward pass does not hide, and parameters coming back. */
  readonly exposed: number;
  readonly optimizer: number;
  /** Of `exposed`, what stage 1 would not have. */
  readonly released: number;
}

/** T_step = a·t_mb + exposed communication + optimizer, times what earlier runs taught. */
export function stepSeconds(question: StepQuestion): StepSeconds {
  const perMicroBatch = microBatchSeconds(question);
  const microBatches = Math.ceil(question.lanes / question.ranks) * question.microBatchesPerLane;
  const compute = microBatches * perMicroBatch;
  const exposed = exposedSeconds(question, perMicroBatch);
  const released =
    question.stage === 2
      ? Math.max(0, exposed - exposedSeconds({ ...question, stage: 1 }, perMicroBatch))
      : 0;
  const optimizer = optimizerSeconds(question);
  const total = (compute + exposed + optimizer) * question.speedRatio;
  return { total, compute, exposed, optimizer, released };
}

function microBatchSeconds(question: StepQuestion): number {
  const work = flopsPerToken(question) * question.tokens;
  return work / rateOf(question) + question.card.layers * LAUNCH_SECONDS_PER_LAYER;
}

/** Operations per second of one rank. Ranks that share too few cores wait for one another. */
export function rateOf(
  question: Pick<StepQuestion, "device" | "threadsPerRank" | "coresCount" | "ranks">,
): number {
  const { device, threadsPerRank, coresCount, ranks } = question;
  if (!device.isCpu) return MFU_PRIOR * device.sustainedFlops;
  const share = Math.min(1, coresCount / (ranks * threadsPerRank));
  return device.sustainedFlops * threadsPerRank * share;
}

/** Bytes a rank sends in a step: gradients to the other holders of each block, parameters to who does not hold it. */
export function sentBytes(question: SentQuestion): { reduce: number; gather: number } {
  const { stage, ranks, lanes, leaves, trainableElements, wireBytes, parameterBytes } = question;
  if (ranks === 1) return { reduce: 0, gather: 0 };
  const copies = stage === 0 ? ranks : Math.min(question.copies, ranks);
  const partials = stage === 2 ? Math.ceil(lanes / ranks) : partialsMax(leaves, ranks);
  const others = (ranks - 1) / ranks;
  return {
    reduce: Math.ceil(partials * copies * trainableElements * wireBytes * others),
    // A rank that holds every block has computed every parameter itself.
    gather: copies === ranks ? 0 : Math.ceil(trainableElements * parameterBytes * others),
  };
}

export type SentQuestion = Pick<
  StepQuestion,
  | "stage"
  | "ranks"
  | "copies"
  | "lanes"
  | "leaves"
  | "trainableElements"
  | "wireBytes"
  | "parameterBytes"
>;

function exposedSeconds(question: StepQuestion, perMicroBatch: number): number {
  const link = question.device.linkBytesPerSecond;
  const { reduce, gather } = sentBytes(question);
  // Stage 2 waits for every release: what it saves is the buffer that the next lane would need.
  const hidden = question.stage === 2 ? 0 : OVERLAP_RATIO * perMicroBatch;
  return Math.max(0, reduce / link - hidden) + gather / link;
}

function optimizerSeconds(question: StepQuestion): number {
  const held = heldBlocksMax({ elements: question.trainableElements, ...question });
  const elements = (held.owned + held.replicas) * question.blockElements;
  const bytes = elements * OPTIMIZER_BYTES_PER_ELEMENT;
  return bytes / (MEMORY_EFFICIENCY * question.device.memoryBytesPerSecond);
}

/** The card of a device kind, or null for one that nobody described. */
export function deviceCard(kind: string): DeviceCard | null {
  return GPU_CARDS.get(kind) ?? null;
}
