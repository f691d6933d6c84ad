/** The plan on the wire: bigints there, safe integers here. */
import type { Plan } from "@shardwright/proto";
import type { MemoryView, PlanView, RecipeView } from "./phase.ts";

/** A 64-bit count of the wire as a number. Throws beyond 2^53: no count of ours gets there. */
export function count(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`${value} is beyond 2^53`);
  return Number(value);
}

/** Throws a RangeError when a count of the plan is no integer: that is a bug of the planner. */
export function planToWire(plan: PlanView): Plan {
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
    snapshotEveryStepsCount: plan.snapshotEverySteps,
    fits: plan.fits,
  };
}

/** Throws a RangeError for counts beyond 2^53. */
export function planFromWire(plan: Plan): PlanView {
  return {
    zeroStage: plan.zeroStage,
    ranks: plan.ranksCount,
    members: plan.membersCount,
    ranksPerMember: plan.ranksPerMemberCount,
    blockElements: plan.blockElementsCount,
    trainableElements: count(plan.trainableElementsCount),
    copies: plan.copiesCount,
    recipe: recipeFromWire(plan.recipe),
    memory: memoryFromWire(plan.memory),
    peakBytesPredicted: count(plan.peakBytesPredicted),
    deviceBytes: count(plan.deviceBytes),
    stepSecondsPredicted: plan.stepSecondsPredicted,
    totalStepsPredicted: count(plan.totalStepsPredicted),
    hoursPredicted: plan.hoursPredicted,
    rejected: plan.rejected.map(({ what, code, sentence }) => ({ what, code, sentence })),
    explanation: [...plan.explanation],
    warnings: [...plan.warnings],
    saveEverySteps: plan.saveEveryStepsCount,
    snapshotEverySteps: plan.snapshotEveryStepsCount,
    fits: plan.fits,
  };
}

type WireRecipe = NonNullable<Plan["recipe"]>;
type WireMemory = NonNullable<Plan["memory"]>;

/** The recipe as the members get it, in `Load`. */
export function recipeToWire(recipe: RecipeView): WireRecipe {
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
    // A journal older than the field has recipes without it.
    computedTokens: recipe.computedTokens || "all",
  };
}

/** proto3 leaves a message of defaults out: absent = all fields empty. */
export function recipeFromWire(recipe: Plan["recipe"]): RecipeView {
  return {
    computeDtype: recipe?.computeDtype ?? "",
    wireDtype: recipe?.wireDtype ?? "",
    lanes: recipe?.lanesCount ?? 0,
    microBatchesPerLane: recipe?.microBatchesPerLaneCount ?? 0,
    microBatchRows: recipe?.microBatchRowsCount ?? 0,
    rowTokens: recipe?.rowTokensCount ?? 0,
    crossEntropyRows: recipe?.crossEntropyRowsCount ?? 0,
    attention: recipe?.attention ?? "",
    threadsPerRank: recipe?.threadsPerRankCount ?? 0,
    optimizerImplementation: recipe?.optimizerImplementation ?? "",
    gradientCheckpointing: recipe?.gradientCheckpointing ?? "",
    deviceType: recipe?.deviceType ?? "",
    // Plans older than the field compute all.
    computedTokens: recipe?.computedTokens || "all",
  };
}

function memoryToWire(memory: MemoryView): WireMemory {
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

function memoryFromWire(memory: Plan["memory"]): MemoryView {
  return {
    weights: count(memory?.weightsBytes ?? 0n),
    gradients: count(memory?.gradientsBytes ?? 0n),
    optimizer: count(memory?.optimizerBytes ?? 0n),
    replicas: count(memory?.replicasBytes ?? 0n),
    activations: count(memory?.activationsBytes ?? 0n),
    logits: count(memory?.logitsBytes ?? 0n),
    transients: count(memory?.transientsBytes ?? 0n),
    context: count(memory?.contextBytes ?? 0n),
    slack: count(memory?.slackBytes ?? 0n),
  };
}
