/** What was not taken and why; and, when nothing fits, what would. */
import { bytesText, counted, type Reason } from "@shardwright/job";
import { FITS_RATIO_MAX, fitsDevice } from "./memory.ts";
import type { RejectedAlternative } from "./parallel-plan.ts";
import {
  type Candidate,
  STAGES_EXECUTED,
  stateChoices,
  type Weighing,
  weigh,
} from "./plan-candidates.ts";
import type { PlanOutcome, PlanRequest } from "./plan-request.ts";
import { settle } from "./plan-setting.ts";
import { shapesFor, type World, worldsFor } from "./plan-shape.ts";

/** More than this many alternatives nobody reads. */
const REJECTED_MAX = 8;
/** Worlds looked at when nothing fits: powers of two up to what the devices allow. */
const WORLDS_LOOKED_AT = 12;

/** The alternatives that differ from the chosen candidate in one thing. */
export function rejectedBeside(
  weighing: Weighing,
  chosen: Candidate,
  candidates: readonly Candidate[],
): RejectedAlternative[] {
  const { request } = weighing;
  const near = candidates.filter((one) => one !== chosen && differences(one, chosen) === 1);
  return near
    .map((one) => ({ what: whatDiffers(one, chosen), ...whyNot(request, one, chosen) }))
    .slice(0, REJECTED_MAX);
}

function differences(a: Candidate, b: Candidate): number {
  return [
    a.stage !== b.stage,
    // Stage 0 is as many copies as there are ranks: with it, they are no choice of their own.
    a.copies !== b.copies && a.world.ranks === b.world.ranks && a.stage > 0 && b.stage > 0,
    a.checkpointing !== b.checkpointing,
    a.shape.microBatchRows !== b.shape.microBatchRows,
    a.world.ranks !== b.world.ranks,
  ].filter(Boolean).length;
}

function whatDiffers(one: Candidate, chosen: Candidate): string {
  if (one.world.ranks !== chosen.world.ranks) return counted(one.world.ranks, "rank");
  if (one.stage !== chosen.stage) return `ZeRO stage ${one.stage}`;
  if (one.checkpointing !== chosen.checkpointing) {
    return one.checkpointing === "full"
      ? "full gradient checkpointing"
      : "no gradient checkpointing";
  }
  if (one.copies !== chosen.copies)
    return one.copies === 1 ? "one copy of the state" : `${one.copies} copies of the state`;
  return `micro-batches of ${counted(one.shape.microBatchRows, "row")}`;
}

function whyNot(request: PlanRequest, one: Candidate, chosen: Candidate): Reason {
  if (!STAGES_EXECUTED.includes(one.stage)) {
    const peak = bytesText(one.memory.peakBytes);
    const sentence = `would need ${peak} per rank, but stage ${one.stage} is not executed by this release`;
    return { code: "StageNotExecuted", sentence };
  }
  if (!one.fits) return { code: "DoesNotFit", sentence: needs(request, one) };
  if (one.world.ranks !== chosen.world.ranks) return otherWorld(one, chosen);
  const saved = chosen.memory.peakBytes - one.memory.peakBytes;
  const memory = `${saved >= 0 ? "saves" : "costs"} ${bytesText(Math.abs(saved))} per rank`;
  if (one.copies < chosen.copies) {
    const sentence = `${memory}, but the death of its holder would lose state and send the job back to a checkpoint`;
    return { code: "LosesState", sentence };
  }
  const slower = one.seconds.total / chosen.seconds.total - 1;
  if (slower > 0.005) {
    const sentence = `${memory}, but a step takes ${Math.round(slower * 100)} % longer`;
    return { code: "Slower", sentence };
  }
  return { code: "NotBetter", sentence: `${memory} and is no faster` };
}

function otherWorld(one: Candidate, chosen: Candidate): Reason {
  const ratio = one.seconds.total / chosen.seconds.total;
  if (one.world.ranks < chosen.world.ranks) {
    const sentence = `works too; a step takes ${ratio.toFixed(1)} times as long, and a death costs the steps since the last checkpoint`;
    return { code: "Slower", sentence };
  }
  const enough = chosen.world.ranks === 1 ? "1 rank is" : `${chosen.world.ranks} ranks are`;
  const sentence = `${enough} enough; a step would take ${Math.round(ratio * 100)} % of the time`;
  return { code: "MoreDevices", sentence };
}

function needs(request: PlanRequest, one: Candidate): string {
  const { bytesPerRank } = request.devices;
  const usable = bytesText(bytesPerRank * FITS_RATIO_MAX);
  return `needs ${bytesText(one.memory.peakBytes)} per rank, ${usable} of ${bytesText(bytesPerRank)} are usable`;
}

/** No candidate fits and runs: the smallest need in numbers, and what would fit. */
export function refuse(weighing: Weighing, candidates: readonly Candidate[]): PlanOutcome {
  const { request } = weighing;
  const runnable = candidates.filter(({ stage }) => STAGES_EXECUTED.includes(stage));
  const least = runnable.reduce((a, b) => (b.memory.peakBytes < a.memory.peakBytes ? b : a));
  const remedies = [...remediesFor(weighing, candidates), roomFor(least)];
  const method = request.spec.tuning.method;
  const sentence = `at its smallest, ${method} tuning ${needs(request, least)} (${largestParts(least)}); what would fit: ${remedies.join("; ")}`;
  const rejected = runnable
    .map((one) => ({ what: describe(one), code: "DoesNotFit", sentence: needs(request, one) }))
    .slice(0, REJECTED_MAX);
  return { fits: false, reason: { code: "DoesNotFit", sentence }, rejected };
}

function describe({ world, shape, stage, copies, checkpointing }: Candidate): string {
  return `${world.ranks} ranks, ZeRO stage ${stage}, ${copies} copies, micro-batches of ${shape.microBatchRows} rows, gradient checkpointing ${checkpointing}`;
}

function largestParts({ memory }: Candidate): string {
  return Object.entries(memory.bytes)
    .sort(([, a], [, b]) => b - a)
    .slice(0, 3)
    .map(([name, bytes]) => `${name} ${bytesText(bytes)}`)
    .join(", ");
}

/** Changes that make it fit, each tried with the same arithmetic; the least change first. */
function remediesFor(weighing: Weighing, candidates: readonly Candidate[]): string[] {
  const { request } = weighing;
  const tried = [
    fitsWith(request, { gradientCheckpointing: "full" }, "train.gradientCheckpointing full"),
    fitsWith(request, { microBatch: 1 }, "train.microBatch 1"),
    shorterRows(request),
    moreRanks(weighing),
    fitsAsLora(request),
    plannedStage(request),
    laterStage(candidates),
  ];
  return tried.filter((remedy) => remedy !== null);
}

function roomFor(least: Candidate): string {
  return `ranks of ${bytesText(Math.ceil(least.memory.peakBytes / FITS_RATIO_MAX))}`;
}

type TrainChange = Partial<PlanRequest["spec"]["train"]>;

function fitsWith(request: PlanRequest, change: TrainChange, words: string): string | null {
  const changed = {
    ...request,
    spec: { ...request.spec, train: { ...request.spec.train, ...change } },
  };
  return anyFits(changed) ? words : null;
}

/** The longest rows, by halving, with which it fits. */
function shorterRows(request: PlanRequest): string | null {
  const settled = settle(request);
  if (!settled.ok || request.spec.data.packing !== null) return null;
  for (
    let tokens = 2 ** Math.floor(Math.log2(settled.setting.rowTokensMax));
    tokens >= 64;
    tokens /= 2
  ) {
    const spec = { ...request.spec, train: { ...request.spec.train, maxLength: tokens } };
    if (anyFits({ ...request, spec, data: null })) return `train.maxLength ${tokens}`;
  }
  return null;
}

function moreRanks({ request }: Weighing): string | null {
  const { gpus, max } = request.spec.resources.members;
  const most = Math.min(
    max ?? request.devices.ranksMax,
    Math.floor(request.devices.ranksMax / gpus),
  );
  for (let power = 1; power < WORLDS_LOOKED_AT; power++) {
    const members = 2 ** power;
    if (members > most) return null;
    if (anyFits(request, { members, ranksPerMember: gpus, ranks: members * gpus })) {
      return `resources.members.replicas ${members}`;
    }
  }
  return null;
}

function fitsAsLora(request: PlanRequest): string | null {
  if (request.spec.tuning.method !== "full") return null;
  const spec = { ...request.spec, tuning: { ...request.spec.tuning, method: "lora" as const } };
  return anyFits({ ...request, spec }) ? "tuning.method lora" : null;
}

function plannedStage(request: PlanRequest): string | null {
  const { zeroStage } = request.spec.train;
  return zeroStage === null ? null : fitsWith(request, { zeroStage: null }, "no train.zeroStage");
}

function laterStage(candidates: readonly Candidate[]): string | null {
  const fitting = candidates.find((one) => one.fits && !STAGES_EXECUTED.includes(one.stage));
  if (fitting === undefined) return null;
  return `ZeRO stage ${fitting.stage} (${bytesText(fitting.memory.peakBytes)} per rank), which is not executed by this release`;
}

/** Whether the most economical choice of a changed request fits, in one of its own worlds or in a given one. */
function anyFits(request: PlanRequest, world?: World): boolean {
  const settled = settle(request);
  if (!settled.ok) return false;
  const reading = worldsFor(request, settled.setting.device.isCpu);
  const worlds = world !== undefined ? [world] : reading.ok ? reading.worlds : [];
  const weighing = { request, setting: settled.setting, ratios: null };
  return worlds.some((at) => fitsIn(weighing, at));
}

function fitsIn(weighing: Weighing, at: World): boolean {
  const { request, setting } = weighing;
  const checkpointing = request.spec.train.gradientCheckpointing === "none" ? "none" : "full";
  const states = stateChoices(weighing, at, false).filter(({ stage }) =>
    STAGES_EXECUTED.includes(stage),
  );
  return shapesFor(request, setting, at).some((shape) =>
    states.some((state) => {
      const { memory } = weigh(weighing, { world: at, shape, ...state, checkpointing });
      return fitsDevice(memory.peakBytes, request.devices.bytesPerRank);
    }),
  );
}
