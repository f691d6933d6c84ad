/** Models whose figures are known exactly: fixtures of tests, golden vectors and benches. */
import { type ModelCard, modelCardFrom } from "./model-card.ts";

function cardOf(config: Readonly<Record<string, unknown>>): ModelCard {
  const reading = modelCardFrom(config);
  if (reading.ok) return reading.card;
  throw new Error(reading.complaints.map(({ path, problem }) => `${path} ${problem}`).join("; "));
}

/** config.json fields that planning reads, as the models' authors published them. */
export const REFERENCE_CONFIGS = {
  smollm2: {
    model_type: "llama",
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49_152,
    max_position_embeddings: 8192,
    tie_word_embeddings: true,
  },
  qwen05: {
    model_type: "qwen2",
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
    vocab_size: 151_936,
    max_position_embeddings: 32_768,
    sliding_window: 32_768,
    use_sliding_window: false,
    tie_word_embeddings: true,
  },
  llama1: {
    model_type: "llama",
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
    vocab_size: 128_256,
    max_position_embeddings: 131_072,
    tie_word_embeddings: true,
  },
  llama8: {
    model_type: "llama",
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    vocab_size: 128_256,
    max_position_embeddings: 131_072,
    tie_word_embeddings: false,
  },
  llama70: {
    model_type: "llama",
    hidden_size: 8192,
    intermediate_size: 28_672,
    num_hidden_layers: 80,
    num_attention_heads: 64,
    num_key_value_heads: 8,
    vocab_size: 128_256,
    max_position_embeddings: 131_072,
    tie_word_embeddings: false,
  },
  gemma2: {
    model_type: "gemma2",
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 256,
    vocab_size: 256_000,
    max_position_embeddings: 8192,
    sliding_window: 4096,
    attn_logit_softcapping: 50,
  },
  gpt2: {
    model_type: "gpt2",
    n_embd: 768,
    n_layer: 12,
    n_head: 12,
    n_positions: 1024,
    vocab_size: 50_257,
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** The same as cards: SmolLM2-135M, Qwen2.5-0.5B, Llama-3.2-1B, Llama-3.1-8B and 70B, Gemma-2-2B, GPT-2. */
export const REFERENCE_CARDS = {
  smollm2: cardOf(REFERENCE_CONFIGS.smollm2),
  qwen05: cardOf(REFERENCE_CONFIGS.qwen05),
  llama1: cardOf(REFERENCE_CONFIGS.llama1),
  llama8: cardOf(REFERENCE_CONFIGS.llama8),
  llama70: cardOf(REFERENCE_CONFIGS.llama70),
  gemma2: cardOf(REFERENCE_CONFIGS.gemma2),
  gpt2: cardOf(REFERENCE_CONFIGS.gpt2),
} as const;
