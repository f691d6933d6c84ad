/**
 * Golden vectors of the planner's arithmetic: TypeScript writes them, the Python twins of the trainer must
 * reproduce them. Every table is a pure function of the constants in this file.
 */
import {
  adapterOf,
  arrivalBytes,
  assignLanes,
  type BlockMap,
  blockElementsFor,
  blocksCount,
  cover,
  heldBlocks,
  layerBytesPerToken,
  liveMax,
  type MemoryQuestion,
  type ModelCard,
  mapBlocks,
  memoryOf,
  ownedBlocks,
  PERMUTATION_ID,
  type PreviousMap,
  partialsMax,
  permute,
  philox4x32,
  planTransfer,
  REFERENCE_CARDS,
  releasePartialsMax,
  rowsOf,
  STATE_BYTES_PER_ELEMENT,
  STATE_SCHEMES,
  type Words2,
  type Words4,
} from "../../packages/planner/src/index.ts";

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

function orderVectors(): unknown {
  const words: readonly (readonly [Words4, Words2])[] = [
    [
      [0, 0, 0, 0],
      [0, 0],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
    ],
    [
      [5, 3, 1, 0],
      [3407, 0],
    ],
  ];
  const whole = [
    [0, 0, 1],
    [0, 0, 2],
    [0, 0, 3],
    [0, 0, 4],
    [0, 0, 5],
    [17, 0, 16],
    [17, 1, 16],
    [3407, 2, 17],
    [2 ** 40 + 7, 5, 31],
    [1, 2 ** 33 + 1, 10],
  ] as const;
  const single = [
    [3407, 0, 100_000, 0],
    [3407, 0, 100_000, 99_999],
    [3407, 3, 1_000_003, 123_456],
    [Number.MAX_SAFE_INTEGER, 0, 2 ** 33, 2 ** 32 + 5],
    [0, 1, 2 ** 52, 2 ** 52 - 1],
  ] as const;
  return {
    id: PERMUTATION_ID,
    philox: words.map(([counter, key]) => ({ counter, key, output: philox4x32(counter, key) })),
    permutations: whole.map(([seed, epoch, n]) => {
      const values = range(n).map((index) => permute(seed, epoch, n, index));
      return { seed, epoch, n, values };
    }),
    points: single.map(([seed, epoch, n, index]) => {
      return { seed, epoch, n, index, value: permute(seed, epoch, n, index) };
    }),
  };
}

function laneVectors(): unknown {
  const spans = [
    [0, 0],
    [0, 1],
    [0, 21],
    [21, 43],
    [43, 64],
    [0, 6],
    [6, 11],
    [11, 16],
    [1, 8],
    [5, 100],
  ] as const;
  const shares = [
    [8, [1, 1]],
    [8, [1, 1, 1]],
    [64, [1, 1, 1, 1, 1]],
    [2, [1, 1, 1]],
    [16, [3, 1]],
    [16, [1, 0.5, 0.25]],
    [8, [1000, 1]],
  ] as const;
  return {
    cover: spans.map(([lo, hi]) => ({ lo, hi, nodes: cover(lo, hi).map((n) => [n.lo, n.size]) })),
    assign: shares.map(([lanes, weights]) => {
      const ranges = assignLanes(lanes, weights).map(({ begin, end }) => [begin, end]);
      return { lanes, weights, ranges };
    }),
    worst: [8, 16, 32, 64].flatMap((lanes) =>
      range(16).map((index) => {
        const ranks = index + 1;
        const [live, partials] = [liveMax(lanes, ranks), partialsMax(lanes, ranks)];
        return { lanes, ranks, live, partials };
      }),
    ),
  };
}

function scheduleVectors(): unknown {
  const jobs = [
    { seed: 3407, rows: 20, batchSize: 8, lanes: 8, microBatchesPerLane: 1, microBatchRows: 1 },
    { seed: 0, rows: 7, batchSize: 4, lanes: 2, microBatchesPerLane: 1, microBatchRows: 2 },
    { seed: 11, rows: 30, batchSize: 13, lanes: 3, microBatchesPerLane: 3, microBatchRows: 2 },
    { seed: 5, rows: 3, batchSize: 8, lanes: 8, microBatchesPerLane: 1, microBatchRows: 1 },
  ];
  return {
    jobs: jobs.map((job) => {
      const steps = range(4).map((step) =>
        range(job.lanes).map((lane) =>
          range(job.microBatchesPerLane).map((microBatch) =>
            rowsOf(job.seed, job, { step, lane, microBatch }),
          ),
        ),
      );
      // steps[step][lane][microBatch] = rows
      return { ...job, stepsPerEpoch: Math.ceil(job.rows / job.batchSize), steps };
    }),
  };
}

interface World {
  readonly ranks: number;
  readonly copies: number;
  /** Ranks of one failure domain. */
  readonly domainRanks: number;
}

function blockVectors(): unknown {
  const map = (space: Space, world: World, previous?: PreviousMap): BlockMap =>
    mapBlocks({
      ...space,
      copies: world.copies,
      ranks: range(world.ranks).map((rank) => {
        return { rank, weight: 1, failureDomain: `node-${Math.floor(rank / world.domainRanks)}` };
      }),
      ...(previous === undefined ? {} : { previous }),
    });
  const small = { elements: 18_688, blockElements: 256 };
  const large = { elements: 8_030_261_248, blockElements: 1_048_576 };
  const cases: readonly (readonly [string, Space, World, World, readonly (number | null)[]])[] = [
    // name, space, world before, world after, new rank of each old rank
    ["a rank joins", small, one(2), one(3), [0, 1]],
    ["the middle rank dies", small, one(3), one(2), [0, null, 1]],
    ["ranks change places", small, one(3), one(3), [2, 0, 1]],
    ["every rank holds everything, one dies", small, all(3), all(2), [null, 0, 1]],
    ["every rank holds everything, two join", small, all(2), all(4), [0, 1]],
    ["two copies, one dies", small, two(4), two(3), [0, null, 1, 2]],
    ["two copies on two nodes, a node leaves", small, two(4, 2), two(2, 2), [0, 1, null, null]],
    ["8B, 8 to 9", large, one(8), one(9), [0, 1, 2, 3, 4, 5, 6, 7]],
    ["8B, two copies, 8 to 7", large, two(8), two(7), [0, 1, 2, null, 3, 4, 5, 6]],
  ];
  return {
    cases: cases.map(([name, space, before, after, newRanks]) => {
      const rankOf = (old: number): number | null => newRanks[old] ?? null;
      const previous = map(space, before);
      const next = map(space, after, { map: previous, rankOf });
      const outcome = planTransfer({
        previous,
        next,
        rankOf,
        stateBytesPerElement: STATE_BYTES_PER_ELEMENT,
        sourceGeneration: 1,
        targetGeneration: 2,
      });
      return {
        name,
        newRanks,
        previous: { ...previous, ranks: before.ranks },
        next: { ...next, ranks: after.ranks },
        owned: range(after.ranks).map((rank) => ownedBlocks(next, rank)),
        held: range(after.ranks).map((rank) => heldBlocks(next, rank)),
        transfer: outcome.possible ? outcome.plan : null,
        lost: outcome.possible ? [] : outcome.lost,
      };
    }),
  };
}

type Space = { readonly elements: number; readonly blockElements: number };
const one = (ranks: number): World => ({ ranks, copies: 1, domainRanks: 1 });
const two = (ranks: number, domainRanks = 1): World => ({ ranks, copies: 2, domainRanks });
const all = (ranks: number): World => ({ ranks, copies: ranks, domainRanks: 1 });

function memoryVectors(): unknown {
  const base: Omit<MemoryQuestion, "card" | "adapter" | "scheme"> = {
    quantised: false,
    valueBytes: 4,
    wireBytes: 4,
    stage: 1,
    ranks: 2,
    copies: 2,
    blockElements: 65_536,
    lanes: 16,
    tokens: 512,
    spanTokens: 256,
    lossTokens: 300,
    crossEntropyRows: 256,
    checkpointing: "none",
    concatenated: false,
    attention: "sdpa",
    autogradBytes: 0,
    exchangeBytes: 1_000_000,
    contextBytes: 786_432_000,
    slackRatio: 0.05,
  };
  const { smollm2, qwen05, llama8, llama70, gemma2, gpt2 } = REFERENCE_CARDS;
  const { fp32, bf16 } = STATE_SCHEMES;
  const narrow = { valueBytes: 2, wireBytes: 2, autogradBytes: 2, scheme: bf16 } as const;
  const cases: readonly (readonly [string, ModelCard, boolean, Partial<MemoryQuestion>])[] = [
    // name, model, LoRA r 16 on all linears, what differs
    ["smollm2 lora fp32", smollm2, true, {}],
    [
      "smollm2 lora, recomputed, concatenated",
      smollm2,
      true,
      { checkpointing: "full", concatenated: true },
    ],
    ["smollm2 full", smollm2, false, { blockElements: 262_144, concatenated: true, ranks: 3 }],
    ["smollm2 full, one rank", smollm2, false, { ranks: 1, copies: 1, stage: 0, exchangeBytes: 0 }],
    ["qwen 0.5B lora bf16", qwen05, true, narrow],
    [
      "8B full bf16 on 8",
      llama8,
      false,
      { ...narrow, ranks: 8, blockElements: 1_048_576, tokens: 8192 },
    ],
    ["8B full stage 2", llama8, false, { ...narrow, ranks: 8, stage: 2, blockElements: 1_048_576 }],
    ["smollm2 full stage 2, bf16 wire", smollm2, false, { wireBytes: 2, ranks: 3, stage: 2 }],
    ["smollm2 full stage 2, one rank", smollm2, false, { ranks: 1, copies: 1, stage: 2 }],
    [
      "70B full stage 3",
      llama70,
      false,
      { ...narrow, ranks: 16, stage: 3, blockElements: 1_048_576 },
    ],
    [
      "70B qlora",
      llama70,
      true,
      { ...narrow, quantised: true, ranks: 1, copies: 1, checkpointing: "full" },
    ],
    ["gemma2 lora, math", gemma2, true, { attention: "math" }],
    [
      "gemma2 full bf16, math",
      gemma2,
      false,
      { ...narrow, attention: "math", blockElements: 1_048_576 },
    ],
    ["gpt2 lora", gpt2, true, { lanes: 8 }],
    ["gpt2 full bf16", gpt2, false, { ...narrow, ranks: 5, copies: 1, blockElements: 131_072 }],
  ];
  return {
    cases: cases.map(([name, card, isAdapted, changes]) => {
      const reading = adapterOf(card, 16, "all-linear");
      if (!reading.ok) throw new Error(`${name}: no adapter`);
      const adapter = {
        r: 16,
        linears: reading.linears,
        trainableElements: reading.trainableElements,
      };
      const question = {
        ...base,
        scheme: fp32,
        card,
        adapter: isAdapted ? adapter : null,
        ...changes,
      };
      return {
        name,
        question,
        layerBytesPerToken: layerBytesPerToken(question),
        ...memoryOf(question),
      };
    }),
    blocks: [1, 255, 100_000, 4_884_480, 41_943_040, 134_515_008, 8_030_261_248].map((elements) => {
      const blockElements = blockElementsFor(elements);
      return { elements, blockElements, blocks: blocksCount(elements, blockElements) };
    }),
    releases: [8, 16, 19, 64].flatMap((lanes) =>
      range(16).map((index) => {
        const ranks = index + 1;
        return { lanes, ranks, partials: releasePartialsMax(lanes, ranks) };
      }),
    ),
    arrivals: [1, 2, 3, 5, 8].map((ranks) => {
      const share = { heldElements: 4_884_480, ranks, lanes: 16, wireBytes: 4 };
      return { ...share, bytes: arrivalBytes(share) };
    }),
  };
}

/** Every vector file by its name without `.json`. */
export function plannerVectors(): Readonly<Record<string, unknown>> {
  return {
    order: orderVectors(),
    lanes: laneVectors(),
    schedule: scheduleVectors(),
    blocks: blockVectors(),
    memory: memoryVectors(),
  };
}
