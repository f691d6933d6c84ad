/**
 * Bytes that autograd keeps between forward and backward, per token and layer. Equal to the byte to what saved-tensor
 * hooks count on a CPU for the Hugging Face blocks of every known architecture (transformers 5, SDPA without a mask).
 */
import type { Linear, ModelCard } from "./model-card.ts";
import type { AttentionPath, Checkpointing } from "./parallel-plan.ts";

export interface AdapterShape {
  readonly r: number;
  /** Adapted linears of one layer. */
  readonly linears: readonly Linear[];
}

export interface ActivationQuestion {
  readonly card: ModelCard;
  /** Bytes of a computed value: 4 or 2. */
  readonly valueBytes: number;
  /** null = every weight is trained. */
  readonly adapter: AdapterShape | null;
  /** Tokens that attend to one another at most: what a score matrix is wide where one is kept. */
  readonly spanTokens: number;
  readonly attention: AttentionPath;
}

/** A: bytes per token of one layer when nothing is recomputed. Frozen norms keep less; adapters keep their middle. */
export function layerBytesPerToken(question: ActivationQuestion): number {
  const { card, valueBytes, adapter } = question;
  const middle = adapter === null ? 0 : valueBytes * adapter.r * adapter.linears.length;
  return coreBytes(question) + middle - (adapter === null ? 0 : frozenSavings(card, valueBytes));
}

function coreBytes(question: ActivationQuestion): number {
  const { card, valueBytes: b } = question;
  const { hidden: h, ff } = card;
  const attention = attentionBytes(question);
  switch (card.architecture) {
    case "llama":
    case "qwen2":
    case "mistral":
      // Two RMSNorms: fp32 input and its inverse root, the normalised value, the output that the linears read.
      return 2 * (4 * h + 4 + 2 * b * h) + attention + 4 * b * ff;
    case "gemma2":
      // Four norms, all in fp32; only two of their outputs feed linears.
      return 4 * (8 * h + 4) + 2 * b * h + attention + 4 * b * ff;
    case "gpt2":
      // Two LayerNorms with mean and inverse deviation; the tanh form of GELU keeps five MLP-wide values.
      return b * (4 * h + 4) + attention + 5 * b * ff;
  }
}

/**
 * Flash: queries, keys, values, the output, and one fp32 log-sum per head. Math: keys and values repeated for every
 * query head, and per score the capped value, the hidden-position mask, the fp32 softmax, its narrow copy.
 */
function attentionBytes({
  card,
  valueBytes: b,
  spanTokens,
  attention,
}: ActivationQuestion): number {
  const { q, kv, heads } = card;
  if (attention !== "math") return 2 * b * q + 2 * b * kv + 4 * heads;
  const capped = card.architecture === "gemma2" ? b : 0;
  const narrow = b === 4 ? 0 : b;
  return 4 * b * q + spanTokens * (heads * (capped + 4 + narrow) + 1);
}

/** A frozen norm weight needs no normalised input for its gradient. LayerNorm keeps it anyhow. */
function frozenSavings(card: ModelCard, b: number): number {
  switch (card.architecture) {
    case "llama":
    case "qwen2":
    case "mistral":
      return 2 * b * card.hidden;
    case "gemma2":
      return 16 * card.hidden;
    case "gpt2":
      return 0;
  }
}

/** The concatenated attention output that a row of two or more documents costs on a CPU, bytes per token and layer. */
export function packedSurcharge(card: ModelCard, valueBytes: number): number {
  return valueBytes * card.q;
}

/** What a materialised attention mask would add per token and layer; our attention never makes one. */
export function maskSurcharge(card: ModelCard, spanTokens: number): number {
  return card.kv === card.hidden ? 2 * spanTokens : 4 * (card.hidden - card.kv) + 2 * spanTokens;
}

/** Bytes kept for a micro-batch: everything, or the inputs of layers when these are recomputed. */
export function keptBytes(
  question: ActivationQuestion,
  tokens: number,
  checkpointing: Checkpointing,
): number {
  const { card, valueBytes } = question;
  const perLayer =
    checkpointing === "full" ? valueBytes * card.hidden : layerBytesPerToken(question);
  return perLayer * card.layers * tokens;
}

/** Working set of the layer whose backward runs: its own tensors, twice while it is recomputed. */
export function workingBytes(
  question: ActivationQuestion,
  tokens: number,
  checkpointing: Checkpointing,
): number {
  return layerBytesPerToken(question) * tokens * (checkpointing === "full" ? 2 : 1);
}

/** Peak of the head and the loss computed in one piece: logits in 16 bits, in fp32, their gradient. Bytes per token. */
export function naiveLogitsBytesPerToken(card: ModelCard): number {
  return 12 * card.vocabulary;
}

/** Peak of the chunked loss: `rows` rows of logits at a time, and every selected hidden row with its gradient. */
export function chunkedLogitsBytes(
  card: ModelCard,
  valueBytes: number,
  at: { readonly rows: number; readonly lossTokens: number },
): number {
  return 12 * card.vocabulary * at.rows + 2 * valueBytes * card.hidden * at.lossTokens;
}

/** Bytes of keys and values per token of a sequence that is being generated, 16 bits each. */
export function cacheBytesPerToken(card: ModelCard): number {
  return 4 * card.layers * card.kv;
}
