import { Plan } from "@shardwright/proto";
import { describe, expect, it } from "vitest";
import type { ParallelPlan } from "./parallel-plan.ts";
import * as wire from "./wire.ts";

const PLAN: ParallelPlan = {
  zeroStage: 1,
  ranks: 16,
  members: 2,
  ranksPerMember: 8,
  blockElements: 1_048_576,
  trainableElements: 70_553_706_496,
  copies: 2,
  recipe: {
    computeDtype: "bf16",
    wireDtype: "fp32",
    lanes: 64,
    microBatchesPerLane: 2,
    microBatchRows: 3,
    rowTokens: 2048,
    crossEntropyRows: 256,
    attention: "math",
    threadsPerRank: 1,
    optimizerImplementation: "foreach-v1",
    gradientCheckpointing: "full",
    deviceType: "H200",
    computedTokens: "needed",
  },
  memory: {
    weights: 1,
    gradients: 2,
    optimizer: 3,
    replicas: 4,
    activations: 5,
    logits: 6,
    transients: 7,
    context: 8,
    slack: 2 ** 40,
  },
  peakBytesPredicted: 2 ** 40 + 36,
  deviceBytes: 149_250_113_536,
  stepSecondsPredicted: 1.25,
  totalStepsPredicted: 1563,
  hoursPredicted: 0.5,
  rejected: [{ what: "1 rank", code: "Slower", sentence: "twice as long" }],
  explanation: ["one", "two"],
  warnings: ["three"],
  saveEverySteps: 7,
  snapshotEverySteps: 2,
  fits: true,
};

describe("the planner's wire", () => {
  it("brings a plan back through bytes", () => {
    const bytes = Plan.encode(wire.planToWire(PLAN)).finish();
    expect(wire.planFromWire(Plan.decode(bytes))).toEqual(PLAN);
  });

  it("refuses words that no plan of this release has, and counts beyond 2^53", () => {
    const message = wire.planToWire(PLAN);
    expect(() => wire.planFromWire({ ...message, zeroStage: 7 })).toThrow("zero_stage is 7");
    expect(() => wire.planFromWire({ ...message, deviceBytes: 2n ** 53n })).toThrow("beyond 2^53");
    expect(() => wire.planFromWire({ ...message, recipe: undefined })).toThrow("its recipe");
    const { recipe } = message;
    if (recipe === undefined) throw new Error("no recipe");
    const odd = { ...message, recipe: { ...recipe, attention: "magic" } };
    expect(() => wire.planFromWire(odd)).toThrow(
      "attention is magic, not one of sdpa, varlen, math",
    );
  });

  it("reads a recipe that does not say which tokens are computed as one that computes all", () => {
    const { recipe } = wire.planToWire(PLAN);
    if (recipe === undefined) throw new Error("no recipe");
    expect(wire.recipeFromWire({ ...recipe, computedTokens: "" }).computedTokens).toBe("all");
    expect(() => wire.recipeFromWire({ ...recipe, computedTokens: "some" })).toThrow(
      "computed_tokens is some, not one of all, needed",
    );
  });

  it("brings maps, lanes, layouts and transfers back", () => {
    const map = {
      elements: 8_030_261_248,
      blockElements: 1_048_576,
      blocks: 7659,
      runs: [{ firstBlock: 0, blocks: 7659, holders: [0, 1] }],
    };
    expect(wire.blockMapFromWire(wire.blockMapToWire(map))).toEqual(map);
    const lanes = [{ rank: 0, begin: 0, end: 5 }];
    expect(wire.lanesFromWire(wire.lanesToWire(lanes))).toEqual(lanes);
    const layout = {
      tensors: [{ fqn: "a.weight", shape: [2, 3], begin: 0, end: 6 }],
      elements: 6,
      fingerprint: "ab",
    };
    expect(wire.layoutFromWire(wire.layoutToWire(layout))).toEqual(layout);
    const move = { id: 0, firstBlock: 3, blocks: 2, sourceRank: 1, targetRank: 0, bytes: 24 };
    const transfer = { sourceGeneration: 1, targetGeneration: 2, moves: [move], totalBytes: 24 };
    expect(wire.transferFromWire(wire.transferToWire(transfer))).toEqual(transfer);
  });
});
