/** planJob: how a job fits, or why it does not. Pure; a few hundred candidates at most. */
import { NO_CALIBRATION, ratiosFor } from "./calibrate.ts";
import { explainPlan } from "./explain.ts";
import type { ParallelPlan, Recipe, RejectedAlternative } from "./parallel-plan.ts";
import {
  type Candidate,
  type Choice,
  CROSS_ENTROPY_ROWS,
  copiesWanted,
  STAGES_EXECUTED,
  stateChoices,
  type Weighing,
  weigh,
} from "./plan-candidates.ts";
import { refuse, rejectedBeside } from "./plan-rejected.ts";
import type { PlanOutcome, PlanRequest } from "./plan-request.ts";
import { type PlanSetting, settle } from "./plan-setting.ts";
import { isCpuAdapter, ranksAllowed, shapesFor, type World, worldsFor } from "./plan-shape.ts";
import { planWarnings } from "./plan-warnings.ts";
import { autoSaveSteps, stepsIn } from "./save-interval.ts";
import { totalSteps } from "./schedule.ts";
import { chooseSnapshots, type SnapshotChoice } from "./snapshots.ts";
import { STATE_BYTES_PER_ELEMENT } from "./states.ts";

/** One fused pass per block; the only update whose bits are promised. Part of the recipe. */
export const OPTIMIZER_IMPLEMENTATION = "foreach-v1";
/** Candidates this close in time count as equally fast: then less recomputation wins. */
const EQUAL_TIME_RATIO = 1.03;

/** The parallel plan of a job on these devices, or the reason why there is none and what would fit. */
export function planJob(request: PlanRequest): PlanOutcome {
  // 1. What the request fixes.
  const settled = settle(request);
  if (!settled.ok) return { fits: false, reason: settled.reason, rejected: [] };
  const { setting } = settled;
  const reading = worldsFor(request, setting.device.isCpu);
  if (!reading.ok) return { fits: false, reason: reading.reason, rejected: [] };
  const tooMany = lanesProblem(request);
  if (tooMany !== null) return { fits: false, reason: tooMany, rejected: [] };
  // 2. Every candidate with its memory and time.
  const weighing: Weighing = { request, setting, ratios: ratiosOf(request) };
  const candidates = reading.worlds.map((world) => candidatesOf(weighing, world));
  // 3. The fastest that fits, in the first world that has one.
  const fitting = candidates.find((some) => some.some(isRunnable));
  const runnable = withSettledRows(setting, fitting?.filter(isRunnable) ?? []);
  const chosen = fastest(runnable, setting.adapter !== null);
  if (chosen === undefined) return refuse(weighing, candidates.flat());
  // 4. Say it, with what was not taken and why.
  const rejected = rejectedBeside(weighing, chosen, candidates.flat());
  const plan = planOf(weighing, chosen, rejected);
  return { fits: true, plan, rejected, explanation: plan.explanation };
}

function ratiosOf({ card, devices, calibration }: PlanRequest): Weighing["ratios"] {
  const key = { architecture: card.architecture, deviceType: devices.kind };
  return ratiosFor(calibration ?? NO_CALIBRATION, key);
}

function lanesProblem({ spec }: PlanRequest): { code: string; sentence: string } | null {
  const { lanes, batchSize } = spec.train;
  if (lanes === null || lanes <= batchSize) return null;
  const sentence = `train.lanes ${lanes} is more than the ${batchSize} rows of a batch; some lanes would never have work`;
  return { code: "LanesExceedBatch", sentence };
}

function isRunnable(candidate: Candidate): boolean {
  return candidate.fits && STAGES_EXECUTED.includes(candidate.stage);
}

/** Holding of state × micro-batch × recomputation for one world. */
function candidatesOf(weighing: Weighing, world: World): Candidate[] {
  const { request, setting } = weighing;
  const { gradientCheckpointing } = request.spec.train;
  const levels =
    gradientCheckpointing === "auto" ? (["none", "full"] as const) : [gradientCheckpointing];
  const states = stateChoices(weighing, world, ranksAllowed(request, world) === 1);
  return shapesFor(request, setting, world).flatMap((shape) =>
    levels.flatMap((checkpointing) =>
      states.map((state) => {
        const choice: Choice = { world, shape, ...state, checkpointing };
        return weigh(weighing, choice);
      }),
    ),
  );
}

/**
 * Least time of computing and of what stage 2 sends more; within three percent less recomputation, then the larger
 * micro-batch, then as many copies as are wanted, then the least bytes over the wire. What a second copy costs in
 * traffic and updates does not count against it: it buys recovery without a lost step.
 */
function fastest(candidates: readonly Candidate[], isAdapter: boolean): Candidate | undefined {
  const timeOf = ({ seconds }: Candidate): number => seconds.compute + seconds.released;
  const best = Math.min(...candidates.map(timeOf));
  const copiesOf = ({ copies, world }: Candidate): number =>
    Math.min(copies, copiesWanted(isAdapter, world.ranks));
  return candidates
    .filter((one) => timeOf(one) <= best * EQUAL_TIME_RATIO)
    .sort(
      (a, b) =>
        Number(a.checkpointing === "full") - Number(b.checkpointing === "full") ||
        b.shape.microBatchRows - a.shape.microBatchRows ||
        copiesOf(b) - copiesOf(a) ||
        a.sentBytes - b.sentBytes ||
        // As many copies as ranks are stage 0 and stage 1 alike; of stage 1 a job that grows holds less on each rank.
        Math.abs(a.stage - 1) - Math.abs(b.stage - 1) ||
        a.seconds.total - b.seconds.total,
    )[0];
}

/**
 * On a CPU an adapter's rows follow from the job, not from the speed in one world: the most rows that fit, at each
 * level of recomputation. So jobs that differ in their members alone have the same recipe.
 */
function withSettledRows(setting: PlanSetting, candidates: readonly Candidate[]): Candidate[] {
  if (!isCpuAdapter(setting)) return [...candidates];
  return candidates.filter(({ checkpointing, shape }) =>
    candidates.every(
      (other) =>
        other.checkpointing !== checkpointing || other.shape.microBatchRows <= shape.microBatchRows,
    ),
  );
}

function planOf(
  weighing: Weighing,
  chosen: Candidate,
  rejected: readonly RejectedAlternative[],
): ParallelPlan {
  const { request, setting } = weighing;
  const { train } = request.spec;
  const rows = request.data?.rows ?? null;
  const steps = rows === null ? (train.maxSteps ?? 0) : totalSteps(train, rows);
  const stepSecondsPredicted = chosen.seconds.total;
  const saveEverySteps = saveSteps(weighing, chosen);
  const snapshots = snapshotsOf(weighing, chosen, saveEverySteps);
  const plan: Omit<ParallelPlan, "explanation" | "warnings"> = {
    zeroStage: chosen.stage,
    ranks: chosen.world.ranks,
    members: chosen.world.members,
    ranksPerMember: chosen.world.ranksPerMember,
    blockElements: setting.blockElements,
    trainableElements: setting.trainableElements,
    copies: chosen.copies,
    recipe: recipeOf(request, setting, chosen),
    memory: chosen.memory.bytes,
    peakBytesPredicted: chosen.memory.peakBytes,
    deviceBytes: request.devices.bytesPerRank,
    stepSecondsPredicted,
    totalStepsPredicted: steps,
    hoursPredicted: (steps * stepSecondsPredicted) / 3600,
    rejected,
    saveEverySteps,
    snapshotEverySteps: snapshots.everySteps,
    fits: true,
  };
  const warnings = [...setting.warnings, ...planWarnings(request, chosen)];
  return { ...plan, warnings, explanation: explainPlan(plan, { weighing, chosen, snapshots }) };
}

function recipeOf(request: PlanRequest, setting: PlanSetting, chosen: Candidate): Recipe {
  const gradientCheckpointing = chosen.checkpointing;
  if (request.recipe !== null) return { ...request.recipe, gradientCheckpointing };
  return {
    computeDtype: setting.computeDtype,
    wireDtype: setting.wireDtype,
    ...chosen.shape,
    rowTokens: setting.rowTokensFilled,
    crossEntropyRows: CROSS_ENTROPY_ROWS,
    attention: setting.attention,
    threadsPerRank: request.spec.resources.threadsPerRank,
    optimizerImplementation: OPTIMIZER_IMPLEMENTATION,
    gradientCheckpointing,
    deviceType: request.devices.kind,
    computedTokens: setting.computedTokens,
  };
}

function saveSteps({ request, setting }: Weighing, chosen: Candidate): number {
  const { every } = request.spec.checkpoint;
  const seconds = chosen.seconds.total;
  if (every === "auto") {
    return autoSaveSteps({
      stateBytes: STATE_BYTES_PER_ELEMENT * setting.trainableElements,
      ranks: chosen.world.ranks,
      stepSeconds: seconds,
      isSmall: setting.adapter !== null,
    });
  }
  return "steps" in every ? every.steps : stepsIn(every.seconds, seconds);
}

function snapshotsOf(
  { request, setting }: Weighing,
  chosen: Candidate,
  saveEverySteps: number,
): SnapshotChoice {
  const { bytesPerRank } = request.devices;
  return chooseSnapshots({
    stateBytes: STATE_BYTES_PER_ELEMENT * setting.trainableElements,
    ranks: chosen.world.ranks,
    members: chosen.world.members,
    copies: chosen.copies,
    stepSeconds: chosen.seconds.total,
    saveEverySteps,
    linkBytesPerSecond: setting.device.linkBytesPerSecond,
    host: setting.device.isCpu ? { peakBytes: chosen.memory.peakBytes, bytesPerRank } : null,
  });
}
