/** The planner's results on the wire: bigints there, count integers here. This file alone imports the wire. */
import {
  count,
  planFromWire as planViewFromWire,
  recipeFromWire as recipeViewFromWire,
} from "@shardwright/job";
import type * as wire from "@shardwright/proto";
import type {
  BlockMap,
  FlatLayout,
  LaneRange,
  ParallelPlan,
  Recipe,
  TransferPlan,
  ZeroStage,
} from "./parallel-plan.ts";

export { planToWire, recipeToWire } from "@shardwright/job";

/** Throws RangeError or TypeError when the message is not a plan that this release could have made. */
export function planFromWire(plan: wire.Plan): ParallelPlan {
  if (plan.recipe === undefined || plan.memory === undefined) {
    throw new TypeError("a plan on the wire must have its recipe and its memory");
  }
  return {
    ...planViewFromWire(plan),
    zeroStage: oneOf<ZeroStage>("zero_stage", plan.zeroStage, [0, 1, 2, 3]),
    recipe: recipeFromWire(plan.recipe),
  };
}

export function recipeFromWire(recipe: wire.Recipe): Recipe {
  return {
    ...recipeViewFromWire(recipe),
    computeDtype: oneOf("compute_dtype", recipe.computeDtype, ["fp32", "bf16"]),
    wireDtype: oneOf("wire_dtype", recipe.wireDtype, ["fp32", "bf16"]),
    attention: oneOf("attention", recipe.attention, ["sdpa", "varlen", "math"]),
    gradientCheckpointing: oneOf("gradient_checkpointing", recipe.gradientCheckpointing, [
      "none",
      "full",
    ]),
    computedTokens: oneOf("computed_tokens", recipe.computedTokens || "all", ["all", "needed"]),
  };
}

export function blockMapToWire(map: BlockMap): wire.BlockMap {
  return {
    elementsCount: BigInt(map.elements),
    blockElementsCount: map.blockElements,
    blocksCount: map.blocks,
    runs: map.runs.map((run) => ({
      firstBlock: run.firstBlock,
      blocksCount: run.blocks,
      holders: [...run.holders],
    })),
  };
}

export function blockMapFromWire(map: wire.BlockMap): BlockMap {
  return {
    elements: count(map.elementsCount),
    blockElements: map.blockElementsCount,
    blocks: map.blocksCount,
    runs: map.runs.map((run) => ({
      firstBlock: run.firstBlock,
      blocks: run.blocksCount,
      holders: [...run.holders],
    })),
  };
}

export function lanesToWire(lanes: readonly LaneRange[]): wire.LaneRange[] {
  return lanes.map(({ rank, begin, end }) => ({ rank, laneBegin: begin, laneEnd: end }));
}

export function lanesFromWire(lanes: readonly wire.LaneRange[]): LaneRange[] {
  return lanes.map(({ rank, laneBegin, laneEnd }) => ({ rank, begin: laneBegin, end: laneEnd }));
}

export function layoutToWire(layout: FlatLayout): wire.FlatLayout {
  return {
    tensors: layout.tensors.map((tensor) => ({
      fqn: tensor.fqn,
      shape: tensor.shape.map(BigInt),
      begin: BigInt(tensor.begin),
      end: BigInt(tensor.end),
    })),
    elementsCount: BigInt(layout.elements),
    fingerprint: layout.fingerprint,
  };
}

export function layoutFromWire(layout: wire.FlatLayout): FlatLayout {
  return {
    tensors: layout.tensors.map((tensor) => ({
      fqn: tensor.fqn,
      shape: tensor.shape.map(count),
      begin: count(tensor.begin),
      end: count(tensor.end),
    })),
    elements: count(layout.elementsCount),
    fingerprint: layout.fingerprint,
  };
}

export function transferToWire(plan: TransferPlan): wire.TransferPlan {
  return {
    sourceGeneration: BigInt(plan.sourceGeneration),
    targetGeneration: BigInt(plan.targetGeneration),
    moves: plan.moves.map((move) => ({
      id: move.id,
      firstBlock: move.firstBlock,
      blocksCount: move.blocks,
      sourceRank: move.sourceRank,
      targetRank: move.targetRank,
      bytes: BigInt(move.bytes),
    })),
    totalBytes: BigInt(plan.totalBytes),
  };
}

export function transferFromWire(plan: wire.TransferPlan): TransferPlan {
  return {
    sourceGeneration: count(plan.sourceGeneration),
    targetGeneration: count(plan.targetGeneration),
    moves: plan.moves.map((move) => ({
      id: move.id,
      firstBlock: move.firstBlock,
      blocks: move.blocksCount,
      sourceRank: move.sourceRank,
      targetRank: move.targetRank,
      bytes: count(move.bytes),
    })),
    totalBytes: count(plan.totalBytes),
  };
}

function oneOf<Word extends string | number>(
  field: string,
  value: string | number,
  words: readonly Word[],
): Word {
  const found = words.find((word) => word === value);
  if (found === undefined)
    throw new RangeError(`${field} is ${value}, not one of ${words.join(", ")}`);
  return found;
}
