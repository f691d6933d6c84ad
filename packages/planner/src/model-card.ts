/** What planning must know of a base model, read from its Hugging Face config.json. */
import type { Complaint } from "@shardwright/job";
import { type ConfigFields, configFields, shown } from "./config-fields.ts";

export const ARCHITECTURES = ["llama", "qwen2", "mistral", "gemma2", "gpt2"] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

/** One linear of a layer, by its name inside the layer: `self_attn.q_proj`. Each exists once per layer. */
export interface Linear {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** Shares that GPT-2 drops; transformers takes this one where config.json does not say. */
const GPT2_DROPOUTS = ["resid_pdrop", "embd_pdrop", "attn_pdrop"] as const;
const GPT2_DROPOUT_DEFAULT = 0.1;

export interface ModelCard {
  readonly architecture: Architecture;
  readonly layers: number;
  readonly hidden: number;
  /** Query heads × head size, and key/value heads × head size. */
  readonly q: number;
  readonly kv: number;
  /** MLP width. */
  readonly ff: number;
  readonly heads: number;
  readonly vocabulary: number;
  /** The output head is the input embedding. */
  readonly tied: boolean;
  readonly parameters: number;
  /** Weights of the linears inside the layers: what quantisation shrinks and adapters attach to. */
  readonly linearParameters: number;
  readonly linears: readonly Linear[];
  readonly contextLength: number;
  /** `math` where the flash path cannot compute the model's attention (soft-capped scores). */
  readonly attention: "sdpa" | "math";
  /** Tokens a layer looks back at most; null = the whole row. */
  readonly slidingWindow: number | null;
  /** In training the model drops some of its activations or attention weights. */
  readonly drops: boolean;
}

export type CardReading =
  | { readonly ok: true; readonly card: ModelCard }
  | { readonly ok: false; readonly complaints: readonly Complaint[] };

/** Reads a parsed config.json. All complaints at once, each with the path of the offending field. */
export function modelCardFrom(config: unknown): CardReading {
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    return refuse([{ path: "$", problem: `must be a JSON object, got ${shown(config)}` }]);
  }
  const record: Readonly<Record<string, unknown>> = { ...config };
  const named = record["model_type"];
  const architecture = ARCHITECTURES.find((known) => known === named);
  if (architecture === undefined) {
    const known = ARCHITECTURES.join(", ");
    const problem =
      (named ?? null) === null
        ? `is missing; known architectures are ${known}`
        : `${shown(named)} is not an architecture this release can plan; known are ${known}`;
    return refuse([{ path: "model_type", problem }]);
  }
  const fields = configFields(record);
  const card = architecture === "gpt2" ? gpt2Card(fields) : decoderCard(architecture, fields);
  return fields.complaints.length > 0 ? refuse(fields.complaints) : { ok: true, card };
}

function refuse(complaints: readonly Complaint[]): CardReading {
  return { ok: false, complaints };
}

/** Llama and its relatives: RMSNorm, rotary positions, gated MLP, grouped key/value heads. */
function decoderCard(architecture: Exclude<Architecture, "gpt2">, fields: ConfigFields): ModelCard {
  const layers = fields.count("num_hidden_layers");
  const hidden = fields.count("hidden_size");
  const heads = fields.count("num_attention_heads");
  const kvHeads = fields.count("num_key_value_heads", heads);
  const headSize = headSizeOf(fields, hidden, heads);
  if (heads % kvHeads !== 0) {
    const problem = `${kvHeads} does not divide num_attention_heads ${heads}`;
    fields.complaints.push({ path: "num_key_value_heads", problem });
  }
  const ff = fields.count("intermediate_size");
  const vocabulary = fields.count("vocab_size");
  const tied = fields.flag("tie_word_embeddings", architecture === "gemma2");
  const q = heads * headSize;
  const kv = kvHeads * headSize;
  const linears = decoderLinears(hidden, q, kv, ff);
  const linearParameters = layers * weightsOf(linears);
  const norms = architecture === "gemma2" ? 4 * hidden : 2 * hidden;
  const perLayer = norms + biasesOf(architecture, fields, { hidden, q, kv, ff });
  const parameters =
    linearParameters + layers * perLayer + hidden + vocabulary * hidden * (tied ? 1 : 2);
  const softCap = fields.optionalNumber("attn_logit_softcapping");
  return {
    architecture,
    layers,
    hidden,
    q,
    kv,
    ff,
    heads,
    vocabulary,
    tied,
    parameters,
    linearParameters,
    linears,
    contextLength: fields.count("max_position_embeddings", 2048),
    attention: architecture === "gemma2" && softCap !== null ? "math" : "sdpa",
    slidingWindow: slidingWindowOf(architecture, fields),
    drops: (fields.optionalNumber("attention_dropout") ?? 0) > 0,
  };
}

function headSizeOf(fields: ConfigFields, hidden: number, heads: number): number {
  const given = fields.optionalCount("head_dim");
  if (given === null && hidden % heads !== 0) {
    const problem = `${heads} heads do not divide hidden_size ${hidden}, and head_dim is not given`;
    fields.complaints.push({ path: "num_attention_heads", problem });
  }
  return given ?? Math.max(1, Math.floor(hidden / heads));
}

/** Qwen2 windows only where it says so; Mistral and Gemma 2 wherever a width is given. */
function slidingWindowOf(architecture: Architecture, fields: ConfigFields): number | null {
  const width = fields.optionalCount("sliding_window");
  const applies =
    architecture === "qwen2" ? fields.flag("use_sliding_window", false) : architecture !== "llama";
  return applies ? width : null;
}

function decoderLinears(hidden: number, q: number, kv: number, ff: number): Linear[] {
  return [
    { name: "self_attn.q_proj", inputs: hidden, outputs: q },
    { name: "self_attn.k_proj", inputs: hidden, outputs: kv },
    { name: "self_attn.v_proj", inputs: hidden, outputs: kv },
    { name: "self_attn.o_proj", inputs: q, outputs: hidden },
    { name: "mlp.gate_proj", inputs: hidden, outputs: ff },
    { name: "mlp.up_proj", inputs: hidden, outputs: ff },
    { name: "mlp.down_proj", inputs: ff, outputs: hidden },
  ];
}

/** Bias parameters of one layer. Qwen2's query, key and value biases are not a switch; the others' are. */
function biasesOf(
  architecture: Exclude<Architecture, "gpt2">,
  fields: ConfigFields,
  widths: { readonly hidden: number; readonly q: number; readonly kv: number; readonly ff: number },
): number {
  const { hidden, q, kv, ff } = widths;
  if (architecture === "qwen2") return q + 2 * kv;
  if (architecture === "mistral") return 0;
  const attention = fields.flag("attention_bias", false) ? q + 2 * kv + hidden : 0;
  const mlp = architecture === "llama" && fields.flag("mlp_bias", false) ? 2 * ff + hidden : 0;
  return attention + mlp;
}

/** GPT-2: LayerNorm with bias, learned positions, one fused query-key-value linear, everything biased, head tied. */
function gpt2Card(fields: ConfigFields): ModelCard {
  const layers = fields.count("n_layer");
  const hidden = fields.count("n_embd");
  const heads = fields.count("n_head");
  if (hidden % heads !== 0) {
    fields.complaints.push({
      path: "n_head",
      problem: `${heads} heads do not divide n_embd ${hidden}`,
    });
  }
  const ff = fields.optionalCount("n_inner") ?? 4 * hidden;
  const positions = fields.count("n_positions");
  const vocabulary = fields.count("vocab_size");
  const tied = fields.flag("tie_word_embeddings", true);
  const linears: Linear[] = [
    { name: "attn.c_attn", inputs: hidden, outputs: 3 * hidden },
    { name: "attn.c_proj", inputs: hidden, outputs: hidden },
    { name: "mlp.c_fc", inputs: hidden, outputs: ff },
    { name: "mlp.c_proj", inputs: ff, outputs: hidden },
  ];
  const linearParameters = layers * weightsOf(linears);
  const norm = 2 * hidden;
  const biases = 3 * hidden + hidden + ff + hidden;
  const embeddings = vocabulary * hidden * (tied ? 1 : 2) + positions * hidden;
  return {
    architecture: "gpt2",
    layers,
    hidden,
    q: hidden,
    kv: hidden,
    ff,
    heads,
    vocabulary,
    tied,
    parameters: linearParameters + layers * (2 * norm + biases) + norm + embeddings,
    linearParameters,
    linears,
    contextLength: positions,
    attention: "sdpa",
    slidingWindow: null,
    drops: GPT2_DROPOUTS.some((name) => (fields.optionalNumber(name) ?? GPT2_DROPOUT_DEFAULT) > 0),
  };
}

function weightsOf(linears: readonly Linear[]): number {
  return linears.reduce((sum, linear) => sum + linear.inputs * linear.outputs, 0);
}
