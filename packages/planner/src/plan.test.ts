import type { JobSpec } from "@shardwright/job";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  aSpec,
  H200,
  LAPTOP,
  planned,
  refused,
  request,
} from "../../../test/support/plan-requests.ts";
import { mapBlocks } from "./block-map.ts";
import { FITS_RATIO_MAX, fitsDevice } from "./memory.ts";
import { planJob } from "./plan.ts";
import { copiesIn } from "./plan-candidates.ts";
import type { PlanRequest } from "./plan-request.ts";
import { REFERENCE_CARDS } from "./reference-cards.ts";

describe("planJob on one machine", () => {
  it("plans the smallest job: LoRA, fp32, two members so that the block map is visible", () => {
    const plan = planned(planJob(request(aSpec())));
    expect(plan).toMatchObject({
      zeroStage: 0,
      ranks: 2,
      members: 2,
      ranksPerMember: 1,
      blockElements: 8192,
      trainableElements: 4_884_480,
      copies: 2,
      saveEverySteps: 1,
      totalStepsPredicted: 0,
      hoursPredicted: 0,
      fits: true,
    });
    expect(plan.recipe).toEqual({
      computeDtype: "fp32",
      wireDtype: "fp32",
      lanes: 8,
      microBatchesPerLane: 1,
      microBatchRows: 1,
      rowTokens: 0,
      crossEntropyRows: 256,
      attention: "sdpa",
      threadsPerRank: 1,
      optimizerImplementation: "foreach-v1",
      gradientCheckpointing: "none",
      deviceType: "cpu",
      computedTokens: "needed",
    });
    expect(plan.explanation.join(" ")).toContain("last learned one on are not computed");
    expect(plan.warnings).toEqual([
      "train.maxLength is not set: planned for examples of up to 2048 tokens, the model reads 8192",
    ]);
  });

  it("takes one member on one core, and as many as are asked for", () => {
    const one = planned(planJob(request(aSpec(), { devices: { ...LAPTOP, coresCount: 1 } })));
    expect([one.members, one.ranks]).toEqual([1, 1]);
    const five = planned(planJob(request(aSpec({ members: { replicas: 5 } }))));
    expect(five.ranks).toBe(5);
    expect(five.warnings).toContain(
      "5 ranks of 1 threads share 2 cores: the step gets slower, not faster",
    );
    const wide = planned(planJob(request(aSpec({ members: { replicas: 2, gpus: 2 } }))));
    expect([wide.members, wide.ranksPerMember, wide.ranks]).toEqual([2, 2, 4]);
  });

  it("gives an adapter job the same recipe on 1 to 4 ranks, so that its bits are the same", () => {
    const recipes = [1, 2, 3, 4].map((replicas) => {
      const spec = aSpec({ members: { replicas }, train: { batchSize: 24, maxLength: 256 } });
      return planned(planJob(request(spec))).recipe;
    });
    for (const recipe of recipes) expect(recipe).toEqual(recipes[0]);
  });

  it("knows steps and hours once the data is known", () => {
    const data = { rows: 400, rowTokensMax: 220, trainedTokens: 20_000, tokens: 48_000 };
    const plan = planned(planJob(request(aSpec({ train: { batchSize: 16 } }), { data })));
    expect(plan.totalStepsPredicted).toBe(75);
    expect(plan.hoursPredicted).toBeCloseTo((75 * plan.stepSecondsPredicted) / 3600, 10);
    expect(plan.warnings).toEqual([]);
    const few = planned(planJob(request(aSpec({ train: { maxSteps: 7 } }), { data })));
    expect(few.totalStepsPredicted).toBe(7);
  });

  it("keeps two copies of full state where they fit, one where they do not, and says why", () => {
    const spec = aSpec({ tuning: { method: "full" }, train: { maxLength: 512 } });
    const roomy = planned(planJob(request(spec)));
    expect(roomy).toMatchObject({ copies: 2, blockElements: 262_144 });
    expect(roomy.recipe.lanes).toBe(8);
    const four = aSpec({
      tuning: { method: "full" },
      train: { maxLength: 512 },
      members: { replicas: 4 },
    });
    const tight = planned(
      planJob(request(four, { devices: { ...LAPTOP, bytesPerRank: 5_150_000_000 } })),
    );
    expect(tight.copies).toBe(1);
    expect(tight.explanation.join(" ")).toContain("in one copy, because a second does not fit");
    expect(tight.rejected.map((one) => `${one.what}: ${one.code}`)).toContain(
      "2 copies of the state: DoesNotFit",
    );
  });

  it("recomputes when nothing else fits", () => {
    const devices = { ...LAPTOP, bytesPerRank: 2_600_000_000 };
    const plan = planned(planJob(request(aSpec(), { devices })));
    expect(plan.recipe.gradientCheckpointing).toBe("full");
    const forbidden = aSpec({ train: { gradientCheckpointing: "none" } });
    expect(refused(planJob(request(forbidden, { devices }))).sentence).toContain(
      "train.gradientCheckpointing full",
    );
  });

  it("takes the math path for soft-capped attention and for examples beyond the window", () => {
    const devices = { ...LAPTOP, bytesPerRank: 60e9 };
    const gemma = planned(
      planJob(
        request(aSpec({ train: { maxLength: 1024 } }), { card: REFERENCE_CARDS.gemma2, devices }),
      ),
    );
    expect(gemma.recipe.attention).toBe("math");
    expect(gemma.explanation.join(" ")).toContain("the model caps its attention scores");
    const windowed = { ...REFERENCE_CARDS.smollm2, slidingWindow: 512 };
    const attention = (maxLength: number): string =>
      planned(planJob(request(aSpec({ train: { maxLength } }), { card: windowed, devices }))).recipe
        .attention;
    expect([attention(512), attention(513)]).toEqual(["sdpa", "math"]);
  });

  it("computes only needed tokens on a CPU, where nothing is dropped", () => {
    const computed = (spec: JobSpec, changes: Partial<PlanRequest> = {}): string =>
      planned(planJob(request(spec, changes))).recipe.computedTokens;
    const dropping = { ...REFERENCE_CARDS.smollm2, drops: true };
    expect(computed(aSpec())).toBe("needed");
    expect(computed(aSpec(), { card: dropping })).toBe("all");
    expect(computed(aSpec({ tuning: { dropout: 0.1 } }))).toBe("all");
    expect(computed(aSpec({ tuning: { method: "full", dropout: 0.1 } }))).toBe("needed");
    const several = planned(planJob(request(aSpec({ train: { microBatch: 2 } }))));
    expect(several.explanation.join(" ")).toContain("open are computed once");
    const onGpu = planned(planJob(request(aSpec(), { devices: H200 })));
    expect(onGpu.recipe.computedTokens).toBe("all");
    expect(onGpu.explanation.join(" ")).not.toContain("last learned");
  });

  it("saves as asked", () => {
    const every = (value: JobSpec["checkpoint"]["every"]): number =>
      planned(planJob(request(aSpec({ checkpoint: { every: value } })))).saveEverySteps;
    expect(every({ steps: 25 })).toBe(25);
    const step = planned(planJob(request(aSpec()))).stepSecondsPredicted;
    expect(every({ seconds: 100 })).toBe(Math.ceil(100 / step));
  });
});

describe("planJob with lanes and micro-batches given", () => {
  it.each([
    [{ batchSize: 12, lanes: 4 }, [4, 3, 1]],
    [{ batchSize: 32, lanes: 8, maxLength: 64 }, [8, 1, 4]],
    [{ batchSize: 10, microBatch: 4 }, [3, 1, 4]],
    [{ batchSize: 200, microBatch: 1, maxLength: 64 }, [50, 4, 1]],
    [{ batchSize: 64, maxLength: 600 }, [64, 1, 1]],
  ])("%j → lanes, micro-batches per lane, rows %j", (train, shape) => {
    const { recipe } = planned(planJob(request(aSpec({ train }))));
    expect([recipe.lanes, recipe.microBatchesPerLane, recipe.microBatchRows]).toEqual(shape);
  });

  it.each([
    [{ replicas: 2 }, 64, 8],
    [{ replicas: 2, max: 4 }, 64, 16],
    [{ replicas: 3 }, 64, 16],
    [{ replicas: 2 }, 6, 6],
    [{ replicas: 2 }, 12, 6],
    [{ replicas: 1, max: 1 }, 8, 1],
  ])("full tuning with members %j and %i rows a step has %i lanes", (members, batchSize, lanes) => {
    const train = { batchSize, maxLength: 128 };
    const { recipe } = planned(
      planJob(request(aSpec({ tuning: { method: "full" }, members, train }))),
    );
    expect(recipe.lanes).toBe(lanes);
    const rows = recipe.microBatchesPerLane * recipe.microBatchRows;
    expect(rows * lanes).toBeGreaterThanOrEqual(batchSize);
    expect(rows * (lanes - 1)).toBeLessThan(batchSize);
  });

  it("keeps the recipe of a job that runs when it is planned for another world", () => {
    const { recipe } = planned(planJob(request(aSpec({ train: { batchSize: 16 } }))));
    const wider = aSpec({ train: { batchSize: 16 }, members: { replicas: 7 } });
    expect(planned(planJob(request(wider, { recipe }))).recipe).toEqual(recipe);
  });

  it("fills every lane that it plans", () => {
    const trains = fc.record({
      batchSize: fc.integer({ min: 1, max: 300 }),
      maxLength: fc.integer({ min: 16, max: 600 }),
    });
    const methods = fc.constantFrom("lora", "full") as fc.Arbitrary<"lora" | "full">;
    const worlds = fc.integer({ min: 1, max: 8 });
    fc.assert(
      fc.property(trains, methods, worlds, (train, method, replicas) => {
        const spec = aSpec({ tuning: { method }, train, members: { replicas } });
        const devices = { ...LAPTOP, bytesPerRank: 40e9 };
        const { recipe } = planned(planJob(request(spec, { devices })));
        const rows = recipe.microBatchesPerLane * recipe.microBatchRows;
        expect(recipe.lanes * rows).toBeGreaterThanOrEqual(train.batchSize);
        expect((recipe.lanes - 1) * rows).toBeLessThan(train.batchSize);
        expect(recipe.lanes).toBeLessThanOrEqual(Math.max(64, 4 * replicas));
      }),
    );
  });
});

describe("planJob on GPUs", () => {
  const packed = { data: { packing: { length: 8192 } } };

  it("takes as few GPUs as fit", () => {
    const spec = aSpec(packed);
    const plan = planned(planJob(request(spec, { card: REFERENCE_CARDS.llama8, devices: H200 })));
    expect(plan).toMatchObject({ ranks: 1, copies: 1, trainableElements: 41_943_040 });
    expect(plan.recipe).toMatchObject({
      computeDtype: "bf16",
      attention: "varlen",
      rowTokens: 8192,
    });
    expect(plan.rejected.find((one) => one.what === "2 ranks")?.code).toBe("MoreDevices");
  });

  it("plans full tuning of 8B on 2 × 8 with 64 lanes", () => {
    const spec = aSpec({
      ...packed,
      tuning: { method: "full" },
      train: { batchSize: 128 },
      members: { replicas: 2, min: 1, max: 2, gpus: 8 },
    });
    const plan = planned(planJob(request(spec, { card: REFERENCE_CARDS.llama8, devices: H200 })));
    // Whole gradient sums of 64 lanes leave no room for a second copy; released ones do.
    expect(plan).toMatchObject({ ranks: 16, members: 2, ranksPerMember: 8, zeroStage: 2 });
    expect(plan.copies).toBe(2);
    expect(plan.recipe).toMatchObject({
      lanes: 64,
      wireDtype: "bf16",
      gradientCheckpointing: "full",
    });
    const stages = plan.rejected.filter((one) => one.what.startsWith("ZeRO stage"));
    expect(stages.map((one) => [one.what, one.code])).toEqual([
      ["ZeRO stage 0", "DoesNotFit"],
      ["ZeRO stage 1", "DoesNotFit"],
      ["ZeRO stage 3", "StageNotExecuted"],
    ]);
    expect(plan.explanation.join(" ")).toMatch(
      /Stage 2: each lane's gradient .* saves 27\.5 GiB per rank over stage 1, which does not fit; a rank sends 126 GiB a step instead of 42\.1 GiB\./,
    );
  });

  it("says when the network decides", () => {
    const spec = aSpec({
      data: { packing: { length: 512 } },
      tuning: { method: "full" },
      train: { batchSize: 4 },
      members: { replicas: 4 },
    });
    const plan = planned(
      planJob(request(spec, { card: REFERENCE_CARDS.llama1, devices: { ...H200, kind: "L40S" } })),
    );
    expect(plan.warnings.some((warning) => warning.startsWith("NetworkBound: "))).toBe(true);
  });
});

describe("planJob refuses", () => {
  it("what does not fit, with the numbers and what would fit", () => {
    const devices = { ...LAPTOP, bytesPerRank: 4 * 2 ** 30 };
    const spec = aSpec({ tuning: { method: "full" }, train: { maxLength: 2048, batchSize: 8 } });
    const outcome = planJob(request(spec, { card: REFERENCE_CARDS.qwen05, devices }));
    const reason = refused(outcome);
    expect(reason.code).toBe("DoesNotFit");
    expect(reason.sentence).toMatch(
      /^at its smallest, full tuning needs [\d.]+ GiB per rank, 3\.68 GiB of 4\.00 GiB are usable \(/,
    );
    expect(reason.sentence).toContain("ranks of ");
    expect(outcome.rejected.length).toBeGreaterThan(0);
    for (const one of outcome.rejected) expect(one.code).toBe("DoesNotFit");
  });

  it("names remedies that really fit", () => {
    const devices = { ...LAPTOP, bytesPerRank: 1_800_000_000 };
    const { sentence } = refused(
      planJob(request(aSpec({ train: { maxLength: 4096 } }), { devices })),
    );
    const length = Number(/train\.maxLength (\d+)/.exec(sentence)?.[1]);
    expect(planJob(request(aSpec({ train: { maxLength: length } }), { devices })).fits).toBe(true);
    expect(planJob(request(aSpec({ train: { maxLength: length * 2 } }), { devices })).fits).toBe(
      false,
    );
    const room = Number(/ranks of ([\d.]+) GiB/.exec(sentence)?.[1]) * 2 ** 30 * 1.01;
    const larger = { ...devices, bytesPerRank: Math.ceil(room) };
    expect(planJob(request(aSpec({ train: { maxLength: 4096 } }), { devices: larger })).fits).toBe(
      true,
    );
  });

  it.each([
    [
      "UnknownDevice",
      aSpec(),
      { devices: { ...LAPTOP, kind: "B300" } },
      'device "B300" is not known',
    ],
    ["MethodNotExecuted", aSpec({ tuning: { method: "qlora" } }), {}, "qlora is not executed"],
    ["PrecisionNotExecuted", aSpec({ precision: "fp16" }), {}, "fp16 is not executed"],
    [
      "NotEnoughDevices",
      aSpec({ members: { replicas: 9 } }),
      {},
      "9 members of 1 need 9 CPU ranks; there is room for 8",
    ],
    [
      "LanesExceedBatch",
      aSpec({ train: { lanes: 16 } }),
      {},
      "train.lanes 16 is more than the 8 rows",
    ],
    [
      "TargetsUnknown",
      aSpec({ tuning: { targets: ["c_attn"] } }),
      {},
      '"c_attn" is no linear of a llama layer',
    ],
  ] as const)("%s", (code, spec, changes, sentence) => {
    const reason = refused(planJob(request(spec, changes)));
    expect(reason.code).toBe(code);
    expect(reason.sentence).toContain(sentence);
  });
});

describe("planJob in general", () => {
  const requests = fc.record({
    method: fc.constantFrom("lora", "full") as fc.Arbitrary<"lora" | "full">,
    name: fc.constantFrom("smollm2", "qwen05", "gemma2", "gpt2") as fc.Arbitrary<
      "smollm2" | "qwen05" | "gemma2" | "gpt2"
    >,
    replicas: fc.option(fc.integer({ min: 1, max: 8 })),
    batchSize: fc.integer({ min: 1, max: 64 }),
    maxLength: fc.integer({ min: 16, max: 1024 }),
    gib: fc.integer({ min: 1, max: 64 }),
  });

  it("never promises what does not fit, sums its categories, explains itself, is deterministic", () => {
    fc.assert(
      fc.property(requests, ({ method, name, replicas, batchSize, maxLength, gib }) => {
        const spec = aSpec({
          tuning: { method },
          train: { batchSize, maxLength },
          members: { replicas },
        });
        const devices = { ...LAPTOP, bytesPerRank: gib * 2 ** 30 };
        const asked = request(spec, { card: REFERENCE_CARDS[name], devices });
        const outcome = planJob(asked);
        expect(planJob(asked)).toEqual(outcome);
        if (!outcome.fits) {
          expect(outcome.reason.sentence).toContain("what would fit: ");
          return;
        }
        const { plan } = outcome;
        expect(plan.peakBytesPredicted).toBeLessThanOrEqual(FITS_RATIO_MAX * devices.bytesPerRank);
        expect(Object.values(plan.memory).reduce((a, b) => a + b, 0)).toBe(plan.peakBytesPredicted);
        expect(plan.explanation.length).toBeGreaterThanOrEqual(8);
        expect(plan.stepSecondsPredicted).toBeGreaterThan(0);
        // The plan is what the block map is made of.
        const ranks = Array.from({ length: plan.ranks }, (_, rank) => {
          return { rank, weight: 1, failureDomain: `member-${rank}` };
        });
        const { trainableElements: elements, blockElements, copies } = plan;
        const map = mapBlocks({ elements, blockElements, ranks, copies });
        expect(map.runs.every((run) => run.holders.length === copies)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it("uses what earlier runs taught: more memory, another speed", () => {
    const entry = {
      architecture: "llama",
      torchVersion: "2.15.0",
      deviceType: "cpu",
      memoryRatio: 1.2,
      speedRatio: 0.5,
      observations: 3,
    };
    const before = planned(planJob(request(aSpec())));
    const after = planned(planJob(request(aSpec(), { calibration: { entries: [entry] } })));
    expect(after.peakBytesPredicted / before.peakBytesPredicted).toBeCloseTo(1.2, 6);
    expect(after.stepSecondsPredicted / before.stepSecondsPredicted).toBeCloseTo(0.5, 6);
    expect(after.explanation.join(" ")).toContain("corrected by 3 earlier runs");
    expect(fitsDevice(after.peakBytesPredicted, after.deviceBytes)).toBe(true);
  });

  it("makes copies of another world size", () => {
    const copies = (zeroStage: number, planned: number, ranks: number) => {
      return (isAdapter: boolean, world: number) =>
        copiesIn({ zeroStage, copies: planned, ranks }, isAdapter, world);
    };
    expect(copies(0, 2, 2)(true, 5)).toBe(5);
    expect(copies(0, 2, 2)(false, 5)).toBe(5);
    // Plans of adapters before stage 0 was told apart.
    expect(copies(1, 2, 2)(true, 5)).toBe(5);
    expect(copies(1, 2, 4)(true, 5)).toBe(2);
    expect(copies(1, 2, 4)(false, 3)).toBe(2);
    expect(copies(2, 1, 4)(false, 3)).toBe(1);
    expect(copies(1, 2, 2)(false, 1)).toBe(1);
  });
});
