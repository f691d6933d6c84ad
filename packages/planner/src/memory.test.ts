import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  cacheBytesPerToken,
  chunkedLogitsBytes,
  layerBytesPerToken,
  maskSurcharge,
  naiveLogitsBytesPerToken,
} from "./activations.ts";
import { adapterOf, doraElements } from "./adapter.ts";
import { blocksCount } from "./flat.ts";
import { type MemoryQuestion, memoryOf, stateBytes, tokensThatFit } from "./memory.ts";
import type { ModelCard } from "./model-card.ts";
import { REFERENCE_CARDS } from "./reference-cards.ts";
import {
  arrivalBytes,
  exchangeBytes,
  gradientBytes,
  heldBlocksMax,
  paperStateBytes,
  quantisedBaseBytes,
  releasePartialsMax,
  STATE_SCHEMES,
} from "./states.ts";

const { qwen05: qwen, llama1, llama8, llama70 } = REFERENCE_CARDS;

function adapter(card: ModelCard, r = 16): NonNullable<MemoryQuestion["adapter"]> {
  const reading = adapterOf(card, r, "all-linear");
  if (!reading.ok) throw new Error("no adapter");
  return { r, linears: reading.linears, trainableElements: reading.trainableElements };
}

const giga = (bytes: number): number => Math.round(bytes / 1e8) / 10;

describe("model states", () => {
  const ranks = [1, 2, 4, 8, 64];
  const table: readonly (readonly [string, ModelCard, 1 | 2 | 3, readonly number[]])[] = [
    ["0.5B", qwen, 1, [7.9, 4.9, 3.5, 2.7, 2.1]],
    ["0.5B", qwen, 2, [7.9, 4.4, 2.7, 1.9, 1.1]],
    ["0.5B", qwen, 3, [7.9, 4.0, 2.0, 1.0, 0.1]],
    ["1B", llama1, 1, [19.8, 12.4, 8.7, 6.8, 5.2]],
    ["1B", llama1, 2, [19.8, 11.1, 6.8, 4.6, 2.7]],
    ["1B", llama1, 3, [19.8, 9.9, 4.9, 2.5, 0.3]],
    ["8B", llama8, 1, [128.5, 80.3, 56.2, 44.2, 33.6]],
    ["8B", llama8, 2, [128.5, 72.3, 44.2, 30.1, 17.8]],
    ["8B", llama8, 3, [128.5, 64.2, 32.1, 16.1, 2.0]],
    ["70B", llama70, 1, [1128.9, 705.5, 493.9, 388.0, 295.4]],
    ["70B", llama70, 2, [1128.9, 635.0, 388.0, 264.6, 156.5]],
    ["70B", llama70, 3, [1128.9, 564.4, 282.2, 141.1, 17.6]],
  ];
  it.each(table)("%s, ZeRO stage by paper", (_, card, stage, expected) => {
    const found = ranks.map((n) =>
      giga(paperStateBytes(STATE_SCHEMES.paper, card.parameters, { stage, ranks: n })),
    );
    expect(found).toEqual(expected);
  });

  it.each([
    ["paper", 7.5e9, 64, [120e9, 31.40625e9, 16.640625e9, 1.875e9]],
    ["paper", 7e9, 8, [112e9, 38.5e9, 26.25e9, 14e9]],
    ["paper", 179.5e9, 8, [2872e9, 987.25e9, 673.125e9, 359e9]],
    ["bf16", 8e9, 8, [144e9, 60e9, 32e9, 18e9]],
    ["fp32", 8e9, 8, [128e9, 72e9, 44e9, 16e9]],
  ] as const)("%s of %d over %i ranks, stage 0 to 3", (scheme, elements, n, expected) => {
    expected.forEach((bytes, index) => {
      const stage = [0, 1, 2, 3][index] as 0 | 1 | 2 | 3;
      expect(paperStateBytes(STATE_SCHEMES[scheme], elements, { stage, ranks: n })).toBe(bytes);
    });
  });

  it("rounds by block: 958 blocks of the 8B, 12 bytes an element", () => {
    const { owned } = heldBlocksMax({
      elements: llama8.parameters,
      blockElements: 1_048_576,
      ranks: 8,
      copies: 1,
    });
    expect(owned).toBe(958);
    expect(owned * 1_048_576 * 12).toBe(12_054_429_696);
  });

  it.each([
    [8, 32.1],
    [16, 48.2],
    [32, 64.2],
    [64, 80.3],
  ])("8B, 8 ranks, %i lanes: %d GB of gradients", (lanes, expected) => {
    const share = { elements: llama8.parameters, stage: 1, ranks: 8, lanes } as const;
    const bytes = { accumulatorBytes: 4, wireBytes: 2, autogradBytes: 2 };
    expect(giga(gradientBytes({ ...share, ...bytes }))).toBe(expected);
  });

  it("holds every block once or everywhere", () => {
    const share = { elements: 640 * 65_536, blockElements: 65_536, ranks: 3 };
    expect(heldBlocksMax({ ...share, copies: 1 })).toEqual({ owned: 214, replicas: 0 });
    expect(heldBlocksMax({ ...share, copies: 2 })).toEqual({ owned: 214, replicas: 214 });
    expect(heldBlocksMax({ ...share, copies: 3 })).toEqual({ owned: 214, replicas: 426 });
  });

  it("needs one accumulator in stage 2, and a rounded copy only where there is no room for it", () => {
    const share = { elements: 1000, stage: 2, ranks: 4, lanes: 16 } as const;
    const of = (wireBytes: number, autogradBytes: number): number =>
      gradientBytes({ ...share, accumulatorBytes: 4, wireBytes, autogradBytes });
    expect([of(4, 0), of(4, 2), of(2, 2), of(2, 0)]).toEqual([4000, 4000, 4000, 6000]);
    const alone = { ...share, ranks: 1, accumulatorBytes: 4, wireBytes: 4, autogradBytes: 0 };
    expect(gradientBytes(alone)).toBe(gradientBytes({ ...alone, stage: 1 }));
  });

  it.each([
    // One round: the others' lanes. Two: three of the others and a copy of the own one, then the sum and three.
    [4, 4, 3],
    [8, 4, 4],
    [16, 4, 5],
    [64, 4, 7],
    [8, 3, 5],
    [5, 4, 4],
    [64, 1, 0],
  ])("keeps partial sums of own blocks: %i lanes on %i ranks: %i", (lanes, ranks, expected) => {
    expect(releasePartialsMax(lanes, ranks)).toBe(expected);
  });

  it("never needs more for gradients in stage 2 than in 1, nor in 1 than in 0", () => {
    const shares = fc.record({
      ranks: fc.integer({ min: 1, max: 16 }),
      lanes: fc.constantFrom(16, 32, 64, 128),
      blocks: fc.integer({ min: 32, max: 600 }),
      narrow: fc.boolean(),
    });
    fc.assert(
      fc.property(shares, ({ ranks, lanes, blocks, narrow }) => {
        const [blockElements, wireBytes] = [256, narrow ? 2 : 4];
        const elements = blocks * blockElements;
        const autogradBytes = narrow ? 2 : 0;
        const peak = (stage: 0 | 1 | 2): number => {
          const copies = stage === 0 ? ranks : 1;
          const held = heldBlocksMax({ elements, blockElements, ranks, copies });
          const heldElements = (held.owned + held.replicas) * blockElements;
          const sizes = { ranks, lanes, wireBytes, stage };
          return (
            gradientBytes({ elements, accumulatorBytes: 4, autogradBytes, ...sizes }) +
            exchangeBytes({ heldElements, ...sizes })
          );
        };
        expect(peak(2)).toBeLessThanOrEqual(peak(1));
        expect(peak(1)).toBeLessThanOrEqual(peak(0));
      }),
    );
  });

  it("receives each node of the other ranks, cut to what it holds", () => {
    expect(arrivalBytes({ heldElements: 1000, ranks: 1, lanes: 8, wireBytes: 4 })).toBe(0);
    expect(arrivalBytes({ heldElements: 1000, ranks: 2, lanes: 8, wireBytes: 4 })).toBe(4000);
    // 8 lanes on 3 ranks: [0,3) is 2 nodes, [3,6) is 2, [6,8) is 1.
    expect(arrivalBytes({ heldElements: 1000, ranks: 3, lanes: 8, wireBytes: 4 })).toBe(16_000);
  });
});

describe("adapters and quantised bases", () => {
  it.each([
    [qwen, 8_798_208, 304_128, 0.457],
    [llama1, 11_272_192, 376_832, 1.027],
    [llama8, 41_943_040, 1_376_256, 5.702],
    [llama70, 207_093_760, 6_717_440, 39.517],
  ] as const)(
    "r 16 on all linears; DoRA; NF4 with double quantisation",
    (card, count, dora, base) => {
      const { linears, trainableElements } = adapter(card);
      expect(trainableElements).toBe(count);
      expect(doraElements(card, linears)).toBe(dora);
      expect(quantisedBaseBytes(card) / 1e9).toBeCloseTo(base, 3);
    },
  );

  it("is 0.515869140625 bytes a quantised parameter", () => {
    const all = { parameters: 2 ** 30, linearParameters: 2 ** 30 };
    expect(quantisedBaseBytes(all) / 2 ** 30).toBe(0.515869140625);
    const one = { parameters: 65e9, linearParameters: 65e9 };
    expect(quantisedBaseBytes(one) / 1e9).toBeCloseTo(33.53, 2);
  });
});

describe("activations", () => {
  const flash = { valueBytes: 2, spanTokens: 2048, attention: "sdpa" } as const;
  it.each([
    [qwen, 57_408, 54_048, 1.378, 1.297, 0.172],
    [llama1, 108_680, 100_712, 1.739, 1.611, 0.164],
    [llama8, 200_840, 184_680, 6.427, 5.91, 0.524],
    [llama70, 397_576, 365_032, 31.806, 29.203, 2.621],
  ] as const)("per token and layer, full and LoRA r 16, bf16", (...row) => {
    const [card, full, lora, modelFull, modelLora, mask] = row;
    const kept = layerBytesPerToken({ card, adapter: null, ...flash });
    const adapted = layerBytesPerToken({ card, adapter: adapter(card), ...flash });
    expect([kept, adapted]).toEqual([full, lora]);
    expect((kept * card.layers) / 1e6).toBeCloseTo(modelFull, 3);
    expect((adapted * card.layers) / 1e6).toBeCloseTo(modelLora, 3);
    expect((maskSurcharge(card, 2048) * card.layers) / 1e6).toBeCloseTo(mask, 3);
  });

  it("counts the logits and the cache", () => {
    expect(naiveLogitsBytesPerToken(llama8)).toBe(1_539_072);
    expect(naiveLogitsBytesPerToken(qwen)).toBe(1_823_232);
    const none = { lossTokens: 0 };
    expect(chunkedLogitsBytes(llama8, 2, { rows: 1024, ...none })).toBe(1_576_009_728);
    expect(chunkedLogitsBytes(llama8, 2, { rows: 256, ...none })).toBe(394_002_432);
    expect([cacheBytesPerToken(llama8), cacheBytesPerToken(llama70)]).toEqual([131_072, 327_680]);
  });
});

const QUESTION: MemoryQuestion = {
  card: llama8,
  adapter: null,
  quantised: false,
  scheme: STATE_SCHEMES.bf16,
  valueBytes: 2,
  wireBytes: 2,
  stage: 1,
  ranks: 8,
  copies: 1,
  blockElements: 1_048_576,
  lanes: 8,
  tokens: 8192,
  spanTokens: 8192,
  lossTokens: 8192,
  crossEntropyRows: 256,
  checkpointing: "full",
  concatenated: false,
  attention: "sdpa",
  autogradBytes: 0,
  exchangeBytes: 0,
  contextBytes: 0,
  slackRatio: 0,
};

describe("memoryOf", () => {
  it("8B LoRA r 16, one rank, 16 lanes: the golden plan", () => {
    const estimate = memoryOf({
      ...QUESTION,
      adapter: adapter(llama8),
      // fp32 adapters are their own masters: 16 bytes an element on a bf16 base.
      scheme: STATE_SCHEMES.fp32,
      wireBytes: 4,
      ranks: 1,
      lanes: 16,
      blockElements: 65_536,
      checkpointing: "none",
    });
    expect(estimate.phase).toBe("backward");
    expect(estimate.peakBytes).toBe(67_328_352_256);
    expect(estimate.bytes.activations).toBe(48_412_753_920);
    expect(estimate.bytes.transients).toBe(1_512_898_560);
    const { weights, gradients, optimizer } = estimate.bytes;
    expect(weights + gradients + optimizer).toBe(16_060_522_496 + 2 * 671_088_640);
  });

  it("8B full, ZeRO-1 on 8 ranks, 8 lanes, checkpointed: the golden plan", () => {
    const estimate = memoryOf(QUESTION);
    expect(estimate.peakBytes).toBe(65_674_043_392);
    expect(estimate.bytes).toEqual({
      weights: 16_060_522_496,
      gradients: 32_121_044_992,
      optimizer: 12_054_429_696,
      replicas: 0,
      activations: 2_147_483_648,
      logits: 0,
      transients: 3_290_562_560,
      context: 0,
      slack: 0,
    });
  });

  it("copies add 12 bytes for each further copy of a share", () => {
    const more = memoryOf({ ...QUESTION, copies: 2 }).bytes;
    expect(more.replicas / 1e9).toBeCloseTo(12.05, 2);
  });

  const questions = fc.record({
    ranks: fc.integer({ min: 1, max: 16 }),
    tokens: fc.integer({ min: 1, max: 20_000 }),
    copies: fc.integer({ min: 1, max: 3 }),
    lanes: fc.constantFrom(16, 32, 64),
    stage: fc.constantFrom(1, 2, 3),
    checkpointing: fc.constantFrom("none", "full"),
    lossTokens: fc.integer({ min: 0, max: 20_000 }),
  }) as fc.Arbitrary<Partial<MemoryQuestion> & { ranks: number; tokens: number }>;

  it("never needs more weights and optimizer state with more ranks, nor less for more tokens", () => {
    fc.assert(
      fc.property(questions, fc.nat(5000), (changes, extra) => {
        const question = { ...QUESTION, ...changes, lossTokens: changes.tokens };
        const wider = { ...question, ranks: question.ranks + 1 };
        const held = stateBytes(question);
        const heldWider = stateBytes(wider);
        expect(heldWider.weights).toBeLessThanOrEqual(held.weights);
        expect(heldWider.optimizer).toBeLessThanOrEqual(held.optimizer);
        const tokens = question.tokens + extra;
        const longer = memoryOf({ ...question, tokens, lossTokens: tokens });
        expect(longer.peakBytes).toBeGreaterThanOrEqual(memoryOf(question).peakBytes);
      }),
    );
  });

  it("sums its categories to the peak, in whole bytes, with slack and context", () => {
    fc.assert(
      fc.property(questions, (changes) => {
        const { bytes, peakBytes } = memoryOf({
          ...QUESTION,
          ...changes,
          slackRatio: 0.05,
          contextBytes: 633_554_432,
          exchangeBytes: 12_345,
        });
        const all = Object.values(bytes);
        expect(all.reduce((a, b) => a + b, 0)).toBe(peakBytes);
        for (const part of all) expect(Number.isSafeInteger(part) && part >= 0).toBe(true);
      }),
    );
  });

  it("covers the space with the blocks it counts", () => {
    const share = { elements: llama8.parameters, blockElements: 1_048_576, copies: 1 };
    for (let ranks = 1; ranks <= 64; ranks++) {
      const blocks = heldBlocksMax({ ...share, ranks }).owned * ranks;
      expect(blocks).toBeGreaterThanOrEqual(blocksCount(share.elements, share.blockElements));
    }
  });
});

describe("tokens of a micro-batch on one H200", () => {
  const available = (states: number): number => 149_250_113_536 - 2e9 - states;
  const base = { valueBytes: 2, spanTokens: 8192, attention: "sdpa" } as const;
  const full8 = 16 * llama8.parameters;
  const lora8 = 2 * llama8.parameters + 16 * adapter(llama8).trainableElements;
  const qlora70 = quantisedBaseBytes(llama70) + 16 * adapter(llama70).trainableElements;
  it.each([
    ["8B full, checkpointed, naive", llama8, null, "full", "naive", full8, 10_418],
    ["8B full, checkpointed, chunked", llama8, null, "full", "chunked", full8, 28_269],
    ["8B LoRA, naive", llama8, adapter(llama8), "none", "naive", lora8, 17_522],
    ["8B LoRA, chunked", llama8, adapter(llama8), "none", "chunked", lora8, 21_415],
    ["70B QLoRA, checkpointed, naive", llama70, adapter(llama70), "full", "naive", qlora70, 36_641],
    [
      "70B QLoRA, checkpointed, chunked",
      llama70,
      adapter(llama70),
      "full",
      "chunked",
      qlora70,
      51_166,
    ],
    ["1B full, checkpointed, naive", llama1, null, "full", "naive", 16 * llama1.parameters, 79_444],
  ] as const)("%s", (...row) => {
    const [, card, shape, checkpointing, crossEntropy, states, tokens] = row;
    const question = { ...base, card, adapter: shape, checkpointing, crossEntropy };
    expect(tokensThatFit(question, available(states))).toBe(tokens);
  });
});
