import type { PlanView } from "@shardwright/job/phase";
import { expect, it } from "vitest";
import { planText } from "./plan.ts";

const PLAN: PlanView = {
  zeroStage: 1,
  ranks: 4,
  members: 2,
  ranksPerMember: 2,
  blockElements: 65_536,
  trainableElements: 4_884_480,
  copies: 2,
  recipe: {
    computeDtype: "fp32",
    wireDtype: "fp32",
    lanes: 8,
    microBatchesPerLane: 1,
    microBatchRows: 2,
    rowTokens: 256,
    crossEntropyRows: 64,
    attention: "sdpa",
    threadsPerRank: 1,
    optimizerImplementation: "adamw-fp32",
    gradientCheckpointing: "none",
    deviceType: "cpu",
    computedTokens: "all",
  },
  memory: {
    weights: 538_060_032,
    gradients: 19_537_920,
    optimizer: 14_653_440,
    replicas: 0,
    activations: 104_857_600,
    logits: 0,
    transients: 0,
    context: 0,
    slack: 1024,
  },
  peakBytesPredicted: 677_110_016,
  deviceBytes: 4_294_967_296,
  stepSecondsPredicted: 1.44,
  totalStepsPredicted: 72,
  hoursPredicted: 0.0288,
  rejected: [{ what: "1 rank", code: "TooSlow", sentence: "three times slower" }],
  explanation: ["2 members of 2 ranks are the fastest that fit."],
  warnings: [],
  saveEverySteps: 10,
  snapshotEverySteps: 2,
  fits: true,
};

it("says when only needed tokens are computed", () => {
  const plan = { ...PLAN, recipe: { ...PLAN.recipe, computedTokens: "needed" } };
  expect(planText(plan, false)).toContain("tokens        computed where a loss needs them\n");
});

it("shows the decision, the bytes by category and what was rejected", () => {
  expect(planText(PLAN, false)).toBe(`ranks         4 (2 members of 2)
ZeRO stage    1
trainable     4.9M parameters in blocks of 65536
state copies  2
lanes         8 of 2 rows (1 × 2)
numerics      fp32, sdpa attention, 1 threads a rank
tokens        all computed
recompute     none
saves         every 10 steps
snapshots     every 2 steps
step time     1.4 s
steps         72
total time    104 s

MEMORY            PREDICTED        BYTES
weights           513.1 MiB    538060032
gradients          18.6 MiB     19537920
optimizer state    14.0 MiB     14653440
activations       100.0 MiB    104857600
slack               1.0 KiB         1024
peak of a rank    645.7 MiB    677110016
there is            4.0 GiB   4294967296

2 members of 2 ranks are the fastest that fit.

REJECTED   WHY
1 rank     three times slower
`);
});

it("says first that it does not fit, and shows no bytes it has not planned", () => {
  const rejected = Array.from({ length: 10 }, (_, i) => ({
    what: `${i + 1} ranks`,
    code: "DoesNotFit",
    sentence: "needs 9 GiB, there are 4",
  }));
  const text = planText({ ...PLAN, fits: false, explanation: [], rejected }, false);
  expect(text.split("\n")[0]).toBe("does not fit");
  expect(text).not.toContain("MEMORY");
  expect(text).toContain("and 2 more (-o wide)");
});
