import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { adapterOf } from "./adapter.ts";
import { modelCardFrom } from "./model-card.ts";
import { REFERENCE_CARDS, REFERENCE_CONFIGS } from "./reference-cards.ts";
import { matrixParameters } from "./speed.ts";

const complaintsOf = (config: unknown): readonly { path: string; problem: string }[] => {
  const reading = modelCardFrom(config);
  return reading.ok ? [] : reading.complaints;
};

describe("modelCardFrom", () => {
  it.each([
    ["smollm2", 134_515_008, 106_168_320, 134_515_008],
    ["qwen05", 494_032_768, 357_826_560, 494_032_768],
    ["llama1", 1_235_814_400, 973_078_528, 1_235_814_400],
    ["llama8", 8_030_261_248, 6_979_321_856, 7_504_924_672],
    ["llama70", 70_553_706_496, 68_451_041_280, 69_503_033_344],
    ["gemma2", 2_614_341_888, 2_024_275_968, 2_614_341_888],
    ["gpt2", 124_439_808, 84_934_656, 124_439_808],
  ] as const)("%s: parameters, linear parameters, N_mm", (name, parameters, linear, matrices) => {
    const card = REFERENCE_CARDS[name];
    expect(card.parameters).toBe(parameters);
    expect(card.linearParameters).toBe(linear);
    expect(matrixParameters(card)).toBe(matrices);
  });

  it("reads what differs between families", () => {
    expect(REFERENCE_CARDS.gemma2).toMatchObject({
      attention: "math",
      slidingWindow: 4096,
      tied: true,
    });
    expect(REFERENCE_CARDS.qwen05).toMatchObject({ attention: "sdpa", slidingWindow: null });
    expect(REFERENCE_CARDS.gpt2).toMatchObject({ ff: 3072, contextLength: 1024, tied: true });
    expect([REFERENCE_CARDS.smollm2.drops, REFERENCE_CARDS.gpt2.drops]).toEqual([false, true]);
    const dropping = modelCardFrom({ ...REFERENCE_CONFIGS.llama1, attention_dropout: 0.1 });
    expect(dropping.ok && dropping.card.drops).toBe(true);
    const mistral = { ...REFERENCE_CONFIGS.llama8, model_type: "mistral", sliding_window: 4096 };
    const reading = modelCardFrom(mistral);
    expect(reading.ok && reading.card.slidingWindow).toBe(4096);
    const biased = modelCardFrom({
      ...REFERENCE_CONFIGS.llama1,
      attention_bias: true,
      mlp_bias: true,
    });
    const extra = 16 * (2048 + 2 * 512 + 2048 + 2 * 8192 + 2048);
    expect(biased.ok && biased.card.parameters).toBe(1_235_814_400 + extra);
  });

  it("refuses an unknown architecture by name", () => {
    expect(complaintsOf({ model_type: "mamba2", hidden_size: "x" })).toEqual([
      {
        path: "model_type",
        problem:
          '"mamba2" is not an architecture this release can plan; known are llama, qwen2, mistral, gemma2, gpt2',
      },
    ]);
    expect(complaintsOf({})[0]?.problem).toContain("is missing");
  });

  it("tells everything that is wrong at once, each with its path", () => {
    const config = {
      model_type: "llama",
      hidden_size: "2048",
      num_hidden_layers: 0,
      num_attention_heads: 6,
      num_key_value_heads: 4,
      intermediate_size: 1.5,
      tie_word_embeddings: "yes",
      head_dim: 64,
    };
    expect(
      complaintsOf(config)
        .map(({ path }) => path)
        .sort(),
    ).toEqual([
      "hidden_size",
      "intermediate_size",
      "num_hidden_layers",
      "num_key_value_heads",
      "tie_word_embeddings",
      "vocab_size",
    ]);
    const odd = { ...REFERENCE_CONFIGS.llama8, num_attention_heads: 24, num_key_value_heads: 8 };
    expect(complaintsOf(odd)).toEqual([
      {
        path: "num_attention_heads",
        problem: "24 heads do not divide hidden_size 4096, and head_dim is not given",
      },
    ]);
    for (const wrong of [null, 7, "llama", []]) expect(complaintsOf(wrong)[0]?.path).toBe("$");
  });

  it("never throws and never accepts a card with a count that is not one", () => {
    const field = fc.constantFrom(...Object.keys(REFERENCE_CONFIGS.llama8));
    const value = fc.oneof(fc.anything(), fc.integer(), fc.double());
    fc.assert(
      fc.property(field, value, (name, wrong) => {
        const reading = modelCardFrom({ ...REFERENCE_CONFIGS.llama8, [name]: wrong });
        if (!reading.ok) return;
        const { card } = reading;
        for (const count of [card.layers, card.hidden, card.q, card.kv, card.ff, card.vocabulary]) {
          expect(Number.isSafeInteger(count) && count > 0).toBe(true);
        }
        expect(Number.isSafeInteger(card.parameters)).toBe(true);
      }),
    );
  });
});

describe("adapterOf", () => {
  it.each([
    ["gemma2", 16, "all-linear", 20_766_720],
    ["gemma2", 256, "all-linear", 332_267_520],
    ["llama8", 16, "all-linear", 41_943_040],
    ["smollm2", 16, "all-linear", 4_884_480],
    // GPT-2: (h + 3h) + (h + h) + (h + 4h) + (4h + h) per layer.
    ["gpt2", 8, "all-linear", 12 * 8 * 16 * 768],
    ["gpt2", 8, ["c_attn"], 12 * 8 * 4 * 768],
    ["gpt2", 8, ["mlp.c_proj"], 12 * 8 * 5 * 768],
    ["llama8", 16, ["q_proj", "v_proj"], 32 * 16 * (4096 + 4096 + 4096 + 1024)],
  ] as const)("%s r %i on %j trains %i elements", (name, r, targets, elements) => {
    const reading = adapterOf(REFERENCE_CARDS[name], r, targets);
    expect(reading.ok && reading.trainableElements).toBe(elements);
  });

  it("is exact for tiny models", () => {
    const tiny = modelCardFrom({
      model_type: "llama",
      hidden_size: 64,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      intermediate_size: 176,
      vocab_size: 128,
    });
    if (!tiny.ok) throw new Error("tiny");
    expect(tiny.card.parameters - 2 * 128 * 64).toBe(92_480);
    const all = adapterOf(tiny.card, 8, "all-linear");
    const two = adapterOf(tiny.card, 8, ["q_proj", "v_proj"]);
    expect([all.ok && all.trainableElements, two.ok && two.trainableElements]).toEqual([
      18_688, 3_584,
    ]);
  });

  it("names modules as PEFT takes them and complains about strangers", () => {
    const gpt2 = adapterOf(REFERENCE_CARDS.gpt2, 8, "all-linear");
    expect(gpt2.ok && gpt2.moduleNames).toEqual(["c_attn", "c_proj", "c_fc"]);
    expect(adapterOf(REFERENCE_CARDS.gpt2, 8, ["q_proj", "c_fc", "lm_head"])).toEqual({
      ok: false,
      complaints: [
        {
          path: "spec.tuning.targets[0]",
          problem: '"q_proj" is no linear of a gpt2 layer; it has c_attn, c_proj, c_fc',
        },
        {
          path: "spec.tuning.targets[2]",
          problem: '"lm_head" is no linear of a gpt2 layer; it has c_attn, c_proj, c_fc',
        },
      ],
    });
  });
});
