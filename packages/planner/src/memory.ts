/** The peak of one rank in bytes, by category: whole numbers, rounded up once at the end. */
import {
  type AdapterShape,
  chunkedLogitsBytes,
  keptBytes,
  naiveLogitsBytesPerToken,
  packedSurcharge,
  workingBytes,
} from "./activations.ts";
import type { ModelCard } from "./model-card.ts";
import type { AttentionPath, Checkpointing, MemoryBytes, ZeroStage } from "./parallel-plan.ts";
import { gradientBytes, heldBlocksMax, quantisedBaseBytes, type StateScheme } from "./states.ts";

/** Above this share of a device, fragmentation and what others keep there decide: such a plan does not fit. */
export const FITS_RATIO_MAX = 0.92;

export interface MemoryQuestion {
  readonly card: ModelCard;
  /** null = every parameter is trained. */
  readonly adapter: (AdapterShape & { readonly trainableElements: number }) | null;
  /** The frozen base is NF4. */
  readonly quantised: boolean;
  readonly scheme: StateScheme;
  /** Bytes of a computed value and of a frozen weight. */
  readonly valueBytes: number;
  readonly wireBytes: number;
  readonly stage: ZeroStage;
  readonly ranks: number;
  readonly copies: number;
  readonly blockElements: number;
  readonly lanes: number;
  /** Tokens of one micro-batch, of its longest document, and those of it that carry loss. */
  readonly tokens: number;
  readonly spanTokens: number;
  readonly lossTokens: number;
  readonly crossEntropyRows: number;
  readonly checkpointing: Checkpointing;
  /** A micro-batch is several documents whose attention runs one by one and is concatenated (CPU). */
  readonly concatenated: boolean;
  /** The score matrices of attention are kept (soft-capped or windowed attention). */
  readonly attention: AttentionPath;
  /** Bytes per trainable element that autograd writes its own narrow gradients to; 0 when it adds into fp32. */
  readonly autogradBytes: number;
  /** Buffers that the gradients of other ranks arrive in, kept from step to step; 0 on a single rank. */
  readonly exchangeBytes: number;
  readonly contextBytes: number;
  readonly slackRatio: number;
}

export type Phase = "forward" | "backward" | "optimizer";

export interface MemoryEstimate {
  /** The categories as they stand at the peak; their sum is `peakBytes`. */
  readonly bytes: MemoryBytes;
  readonly peakBytes: number;
  readonly phase: Phase;
}

/** Trainable elements: all parameters, or the adapter's. */
export function trainableElements(question: Pick<MemoryQuestion, "card" | "adapter">): number {
  return question.adapter?.trainableElements ?? question.card.parameters;
}

/** peak = (states + the largest of three phases) · (1 + slack) + context. */
export function memoryOf(question: MemoryQuestion): MemoryEstimate {
  const states = stateBytes(question);
  const { phase, parts } = largestPhase(question);
  const used = sumOf(states) + sumOf(parts);
  const context = question.contextBytes;
  const slack = Math.ceil(used * question.slackRatio);
  return {
    bytes: { ...states, ...parts, context, slack },
    peakBytes: used + context + slack,
    phase,
  };
}

type States = Pick<MemoryBytes, "weights" | "gradients" | "optimizer" | "replicas">;
type Parts = Pick<MemoryBytes, "activations" | "logits" | "transients">;

/** What a rank holds all the time: weights, accumulators, the state of its blocks. */
export function stateBytes(question: MemoryQuestion): States {
  const { scheme, stage, ranks } = question;
  const elements = trainableElements(question);
  const held = heldBlocksMax({ elements, ...question });
  const perBlock = scheme.optimizer * question.blockElements;
  const isWhole = stage === 0;
  return {
    weights: weightBytes(question, elements),
    gradients:
      question.autogradBytes * elements +
      gradientBytes({
        elements,
        stage,
        ranks,
        lanes: question.lanes,
        accumulatorBytes: scheme.gradients,
        wireBytes: question.wireBytes,
        autogradBytes: question.autogradBytes,
      }),
    optimizer: perBlock * (isWhole ? held.owned + held.replicas : held.owned),
    replicas: isWhole ? 0 : perBlock * held.replicas,
  };
}

function weightBytes(question: MemoryQuestion, elements: number): number {
  const { card, adapter, scheme, stage, ranks } = question;
  const base = question.quantised
    ? quantisedBaseBytes(card)
    : (adapter === null ? scheme.weights : question.valueBytes) * card.parameters;
  const all = base + (adapter === null ? 0 : scheme.weights * elements);
  return stage === 3 ? Math.ceil(all / ranks) : all;
}

function largestPhase(question: MemoryQuestion): { phase: Phase; parts: Parts } {
  const { exchangeBytes } = question;
  const activations = activationBytes(question);
  const backward = exchangeBytes + backwardTransients(question);
  // Stepping block by block needs three fp32 blocks: gradient, scratch and what is published.
  const optimizer = exchangeBytes + 3 * 4 * question.blockElements;
  const phases: { phase: Phase; parts: Parts }[] = [
    {
      phase: "forward",
      parts: { activations, logits: logitsBytes(question), transients: exchangeBytes },
    },
    { phase: "backward", parts: { activations, logits: 0, transients: backward } },
    { phase: "optimizer", parts: { activations: 0, logits: 0, transients: optimizer } },
  ];
  return phases.reduce((most, one) => (sumOf(one.parts) > sumOf(most.parts) ? one : most));
}

/** The chunked loss forms gradients in its forward: a trained head's is a whole fp32 matrix. */
function logitsBytes({ card, valueBytes, adapter, ...question }: MemoryQuestion): number {
  const rows = Math.min(question.crossEntropyRows, question.lossTokens);
  const chunked = chunkedLogitsBytes(card, valueBytes, { rows, lossTokens: question.lossTokens });
  return chunked + (adapter === null ? 4 * card.vocabulary * card.hidden : 0);
}

function activationBytes(question: MemoryQuestion): number {
  const { tokens, checkpointing, card, valueBytes } = question;
  const surcharge =
    question.concatenated && checkpointing === "none"
      ? packedSurcharge(card, valueBytes) * card.layers * tokens
      : 0;
  return keptBytes(question, tokens, checkpointing) + surcharge;
}

function backwardTransients(question: MemoryQuestion): number {
  const working = workingBytes(question, question.tokens, question.checkpointing);
  const dequantised = question.quantised ? question.valueBytes * largestLinear(question.card) : 0;
  return working + dequantised + (question.stage === 3 ? unitBytes(question) : 0);
}

function largestLinear(card: ModelCard): number {
  return Math.max(...card.linears.map((linear) => linear.inputs * linear.outputs));
}

/** Stage 3: two unsharded layers, the unsharded embedding and head, one layer's gradient reduced in fp32. */
function unitBytes({ card, valueBytes }: MemoryQuestion): number {
  const layer = card.linears.reduce((sum, one) => sum + one.inputs * one.outputs, 0);
  const root = card.vocabulary * card.hidden * (card.tied ? 1 : 2);
  return 2 * valueBytes * layer + valueBytes * root + 4 * layer;
}

function sumOf(parts: Readonly<Record<string, number>>): number {
  return Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);
}

/** Whether a peak leaves the device the room it needs. */
export function fitsDevice(peakBytes: number, deviceBytes: number): boolean {
  return peakBytes <= FITS_RATIO_MAX * deviceBytes;
}

export interface TokenQuestion {
  readonly card: ModelCard;
  readonly adapter: AdapterShape | null;
  readonly valueBytes: number;
  readonly spanTokens: number;
  readonly attention: AttentionPath;
  readonly checkpointing: Checkpointing;
  readonly crossEntropy: "naive" | "chunked";
}

/** Bytes that one more token of a micro-batch costs at the peak. */
export function bytesPerToken(question: TokenQuestion): number {
  const { card, checkpointing } = question;
  const kept = keptBytes(question, 1, checkpointing);
  return question.crossEntropy === "naive"
    ? kept + naiveLogitsBytesPerToken(card)
    : kept + workingBytes(question, 1, checkpointing);
}

/** Tokens of the largest micro-batch that `availableBytes` hold. */
export function tokensThatFit(question: TokenQuestion, availableBytes: number): number {
  return Math.max(0, Math.floor(availableBytes / bytesPerToken(question)));
}
