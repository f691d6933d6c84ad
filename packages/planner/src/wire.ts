/** The planner's results on the wire: bigints there, safe integers here. This file alone imports the wire. */
import type * as wire from "@shardwright/proto";
import type {
  BlockMap,
  FlatLayout,
  LaneRange,
  MemoryBytes,
  ParallelPlan,
  Recipe,
  TransferPlan,
  ZeroStage,
} from "./parallel-plan.ts";

export function planToWire(plan: ParallelPlan): wire.Plan {
  return {
    zeroStage: plan.zeroStage,
    ranksCount: plan.ranks,
    membersCount: plan.members,
    ranksPerMemberCount: plan.ranksPerMember,
    blockElementsCount: plan.blockElements,
    trainableElementsCount: BigInt(plan.trainableElements),
    copiesCount: plan.copies,
    recipe: recipeToWire(plan.recipe),
    memory: memoryToWire(plan.memory),
    peakBytesPredicted: BigInt(plan.peakBytesPredicted),
    deviceBytes: BigInt(plan.deviceBytes),
    stepSecondsPredicted: plan.stepSecondsPredicted,
    totalStepsPredicted: BigInt(plan.totalStepsPredicted),
    hoursPredicted: plan.hoursPredicted,
    rejected: plan.rejected.map(({ what, code, sentence }) => ({ what, code, sentence })),
    explanation: [...plan.explanation],
    warnings: [...plan.warnings],
    saveEveryStepsCount: plan.saveEverySteps,
    fits: plan.fits,
  };
}

/** Throws RangeError or TypeError when the message is not a plan that this release could have made. */
export function planFromWire(plan: wire.Plan): ParallelPlan {
  if (plan.recipe === undefined || plan.memory === undefined) {
    throw new TypeError("a plan on the wire must have its recipe and its memory");
  }
  return {
    zeroStage: oneOf<ZeroStage>("zero_stage", plan.zeroStage, [0, 1, 2, 3]),
    ranks: plan.ranksCount,
    members: plan.membersCount,
    ranksPerMember: plan.ranksPerMemberCount,
    blockElements: plan.blockElementsCount,
    trainableElements: safe(plan.trainableElementsCount),
    copies: plan.copiesCount,
    recipe: recipeFromWire(plan.recipe),
    memory: memoryFromWire(plan.memory),
    peakBytesPredicted: safe(plan.peakBytesPredicted),
    deviceBytes: safe(plan.deviceBytes),
    stepSecondsPredicted: plan.stepSecondsPredicted,
    totalStepsPredicted: safe(plan.totalStepsPredicted),
    hoursPredicted: plan.hoursPredicted,
    rejected: plan.rejected.map(({ what, code, sentence }) => ({ what, code, sentence })),
    explanation: [...plan.explanation],
    warnings: [...plan.warnings],
    saveEverySteps: plan.saveEveryStepsCount,
    fits: plan.fits,
  };
}

export function recipeToWire(recipe: Recipe): wire.Recipe {
  return {
    computeDtype: recipe.computeDtype,
    wireDtype: recipe.wireDtype,
    lanesCount: recipe.lanes,
    microBatchesPerLaneCount: recipe.microBatchesPerLane,
    microBatchRowsCount: recipe.microBatchRows,
    rowTokensCount: recipe.rowTokens,
    crossEntropyRowsCount: recipe.crossEntropyRows,
    attention: recipe.attention,
    threadsPerRankCount: recipe.threadsPerRank,
    optimizerImplementation: recipe.optimizerImplementation,
    gradientCheckpointing: recipe.gradientCheckpointing,
    deviceType: recipe.deviceType,
  };
}

export function recipeFromWire(recipe: wire.Recipe): Recipe {
  return {
    computeDtype: oneOf("compute_dtype", recipe.computeDtype, ["fp32", "bf16"]),
    wireDtype: oneOf("wire_dtype", recipe.wireDtype, ["fp32", "bf16"]),
    lanes: recipe.lanesCount,
    microBatchesPerLane: recipe.microBatchesPerLaneCount,
    microBatchRows: recipe.microBatchRowsCount,
    rowTokens: recipe.rowTokensCount,
    crossEntropyRows: recipe.crossEntropyRowsCount,
    attention: oneOf("attention", recipe.attention, ["sdpa", "varlen", "math"]),
    threadsPerRank: recipe.threadsPerRankCount,
    optimizerImplementation: recipe.optimizerImplementation,
    gradientCheckpointing: oneOf("gradient_checkpointing", recipe.gradientCheckpointing, [
      "none",
      "full",
    ]),
    deviceType: recipe.deviceType,
  };
}

function memoryToWire(memory: MemoryBytes): wire.MemoryBytes {
  return {
    weightsBytes: BigInt(memory.weights),
    gradientsBytes: BigInt(memory.gradients),
    optimizerBytes: BigInt(memory.optimizer),
    replicasBytes: BigInt(memory.replicas),
    activationsBytes: BigInt(memory.activations),
    logitsBytes: BigInt(memory.logits),
    transientsBytes: BigInt(memory.transients),
    contextBytes: BigInt(memory.context),
    slackBytes: BigInt(memory.slack),
  };
}

function memoryFromWire(memory: wire.MemoryBytes): MemoryBytes {
  return {
    weights: safe(memory.weightsBytes),
    gradients: safe(memory.gradientsBytes),
    optimizer: safe(memory.optimizerBytes),
    replicas: safe(memory.replicasBytes),
    activations: safe(memory.activationsBytes),
    logits: safe(memory.logitsBytes),
    transients: safe(memory.transientsBytes),
    context: safe(memory.contextBytes),
    slack: safe(memory.slackBytes),
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
    elements: safe(map.elementsCount),
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
      shape: tensor.shape.map(safe),
      begin: safe(tensor.begin),
      end: safe(tensor.end),
    })),
    elements: safe(layout.elementsCount),
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
    sourceGeneration: safe(plan.sourceGeneration),
    targetGeneration: safe(plan.targetGeneration),
    moves: plan.moves.map((move) => ({
      id: move.id,
      firstBlock: move.firstBlock,
      blocks: move.blocksCount,
      sourceRank: move.sourceRank,
      targetRank: move.targetRank,
      bytes: safe(move.bytes),
    })),
    totalBytes: safe(plan.totalBytes),
  };
}

/** A 64-bit count of the wire as a number; RangeError beyond 2^53, where none of our counts gets. */
function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`${value} is beyond 2^53`);
  return Number(value);
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
