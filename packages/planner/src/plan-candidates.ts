/** Every way to run the job that is worth a look, each with its memory and its time. */
import type { CalibrationEntry } from "./calibrate.ts";
import { contextBytesOf } from "./gpu-card.ts";
import { fitsDevice, type MemoryEstimate, memoryOf } from "./memory.ts";
import type { Checkpointing, ZeroStage } from "./parallel-plan.ts";
import type { PlanRequest } from "./plan-request.ts";
import type { PlanSetting } from "./plan-setting.ts";
import type { StepShape, World } from "./plan-shape.ts";
import { type StepQuestion, type StepSeconds, sentBytes, stepSeconds } from "./speed.ts";
import { dtypeBytes, exchangeBytes, heldBlocksMax } from "./states.ts";

/** Stages that this release's trainer runs. */
export const STAGES_EXECUTED: readonly ZeroStage[] = [0, 1, 2];
/** Rows of logits that exist at a time. More is faster by little and costs 12 bytes × vocabulary each. */
export const CROSS_ENTROPY_ROWS = 256;
/** Share of the phase peak that the allocator loses. Prior. */
const SLACK_RATIO = 0.05;

export interface Choice {
  readonly world: World;
  readonly shape: StepShape;
  readonly stage: ZeroStage;
  readonly copies: number;
  readonly checkpointing: Checkpointing;
}

export interface Candidate extends Choice {
  readonly memory: MemoryEstimate;
  readonly seconds: StepSeconds;
  /** Bytes that a rank sends in a step. */
  readonly sentBytes: number;
  readonly fits: boolean;
}

/** What weighing needs besides the choice itself. */
export interface Weighing {
  readonly request: PlanRequest;
  readonly setting: PlanSetting;
  readonly ratios: CalibrationEntry | null;
}

/** Predicts one choice. */
export function weigh(weighing: Weighing, choice: Choice): Candidate {
  const memory = correctedMemory(weighing, choice);
  const question = stepQuestion(weighing, choice);
  const { reduce, gather } = sentBytes(question);
  return {
    ...choice,
    memory,
    seconds: stepSeconds(question),
    sentBytes: reduce + gather,
    fits: fitsDevice(memory.peakBytes, weighing.request.devices.bytesPerRank),
  };
}

function correctedMemory({ request, setting, ratios }: Weighing, choice: Choice): MemoryEstimate {
  const { ranks } = choice.world;
  const { trainableElements: elements, blockElements } = setting;
  const copies = choice.stage === 0 ? ranks : choice.copies;
  const held = heldBlocksMax({ elements, blockElements, ranks, copies });
  const tokens =
    choice.shape.microBatchRows * Math.max(setting.rowTokensMax, setting.rowTokensFilled);
  const wireBytes = dtypeBytes(setting.wireDtype);
  const leaves = leavesOf(request, choice);
  const estimate = memoryOf({
    card: request.card,
    adapter: setting.adapter,
    quantised: false,
    scheme: setting.scheme,
    valueBytes: setting.valueBytes,
    wireBytes,
    stage: choice.stage,
    ranks,
    copies,
    blockElements,
    lanes: leaves,
    tokens,
    spanTokens: setting.documentTokensMax,
    lossTokens: tokens,
    crossEntropyRows: CROSS_ENTROPY_ROWS,
    checkpointing: choice.checkpointing,
    // Rows lie one after another; a pack, too, is several documents.
    concatenated:
      setting.device.isCpu && (choice.shape.microBatchRows > 1 || setting.rowTokensFilled > 0),
    attention: setting.attention,
    autogradBytes: setting.computeDtype === "fp32" ? 0 : setting.valueBytes,
    exchangeBytes: exchangeBytes({
      stage: choice.stage,
      heldElements: Math.min(elements, (held.owned + held.replicas) * blockElements),
      ranks,
      lanes: leaves,
      wireBytes,
    }),
    contextBytes: contextBytesOf(setting.device, ranks),
    slackRatio: SLACK_RATIO,
  });
  // Earlier runs may only ask for more room: a lucky run is no promise for the next one.
  const extra = Math.ceil(estimate.peakBytes * Math.max(0, (ratios?.memoryRatio ?? 1) - 1));
  return {
    ...estimate,
    bytes: { ...estimate.bytes, slack: estimate.bytes.slack + extra },
    peakBytes: estimate.peakBytes + extra,
  };
}

/** Fast: the lanes of a rank are one sum, so the tree is one over the ranks. */
function leavesOf({ spec }: PlanRequest, { shape, world }: Choice): number {
  return spec.exactness === "fast" ? Math.min(shape.lanes, world.ranks) : shape.lanes;
}

function stepQuestion({ request, setting, ratios }: Weighing, choice: Choice): StepQuestion {
  return {
    card: request.card,
    adapterElements: setting.adapter?.trainableElements ?? null,
    spanTokens: setting.documentTokensMean,
    checkpointing: choice.checkpointing,
    device: setting.device,
    threadsPerRank: request.spec.resources.threadsPerRank,
    coresCount: request.devices.coresCount,
    stage: choice.stage,
    ranks: choice.world.ranks,
    copies: choice.copies,
    blockElements: setting.blockElements,
    trainableElements: setting.trainableElements,
    lanes: choice.shape.lanes,
    leaves: leavesOf(request, choice),
    microBatchesPerLane: choice.shape.microBatchesPerLane,
    tokens: choice.shape.microBatchRows * Math.max(setting.rowTokensMean, setting.rowTokensFilled),
    wireBytes: dtypeBytes(setting.wireDtype),
    parameterBytes: setting.scheme.weights,
    speedRatio: ratios?.speedRatio ?? 1,
  };
}

/** Stage and copies together: they say who holds what. */
export type StateChoice = Pick<Choice, "stage" | "copies">;

/**
 * The ways to hold state that are worth a look, the preferred one first. Stage 0 is as many copies as there are ranks,
 * whatever their number will be; stages 1 and 2 keep a number of copies. Stage 2 gives up its point where a rank has
 * one sum only.
 */
export function stateChoices(
  { request, setting }: Weighing,
  world: World,
  isAlone: boolean,
): readonly StateChoice[] {
  const { zeroStage } = request.spec.train;
  const { ranks } = world;
  if (ranks === 1) return [{ stage: zeroStage ?? (isAlone ? 0 : 1), copies: 1 }];
  const counts = ranks > 2 ? [2, 1] : setting.adapter === null ? [2, 1] : [1];
  const later = request.spec.exactness === "fast" ? ([1, 3] as const) : ([1, 2, 3] as const);
  const shared = counts.flatMap((copies) => later.map((stage) => ({ stage, copies })));
  const all: StateChoice[] = [{ stage: 0, copies: ranks }, ...shared];
  if (zeroStage === null) return all;
  if (zeroStage === 2) return counts.map((copies) => ({ stage: 2, copies }));
  return all.filter(({ stage }) => stage === zeroStage);
}

/** Copies of a block: an adapter's on every rank; of full state two where there is a second rank. */
export function copiesWanted(isAdapter: boolean, ranks: number): number {
  return isAdapter ? ranks : Math.min(2, ranks);
}

/** Copies that a generation of another world size makes of what the plan says: all, or no more than were planned. */
export function copiesIn(
  plan: { readonly zeroStage: number; readonly copies: number; readonly ranks: number },
  isAdapter: boolean,
  worldSize: number,
): number {
  const isWhole = plan.zeroStage === 0 || (isAdapter && plan.copies >= plan.ranks);
  return isWhole ? worldSize : Math.min(plan.copies, worldSize);
}
