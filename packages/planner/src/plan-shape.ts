/** How a step is cut: how many ranks there may be, and how rows become lanes and micro-batches. */
import type { JobSpec, Reason } from "@shardwright/job";
import type { PlanRequest } from "./plan-request.ts";
import type { PlanSetting } from "./plan-setting.ts";

export interface World {
  readonly members: number;
  readonly ranksPerMember: number;
  readonly ranks: number;
}

/** Members of a job on one machine when nobody says: two, so that the block map is visible. */
const EMBEDDED_MEMBERS = 2;
/** Lanes of LoRA-sized state cost nothing, but more than this many leave too little work in each. */
const ADAPTER_LANES_MAX = 64;
/** Lanes an adapter job aims at, however few ranks it has: then 1 to 4 ranks run the same recipe, with the same bits. */
const ADAPTER_LANES_GOAL = 16;
/** Lanes per rank of the largest world: odd world sizes then waste at most a fifth. */
const LANES_PER_RANK = 4;
/** Tokens of a micro-batch beyond which products gain nothing more. */
const GPU_TOKENS_GOAL = 8192;
const CPU_TOKENS_GOAL = 1024;
/**
 * Tokens below which a CPU's products are mostly overhead. Measured with two rows of about 100 tokens a lane
 * instead of one: 401 against 359 tokens a second (135M parameters, LoRA, two ranks of one core).
 */
const CPU_TOKENS_LEAST = 256;
/** Ranks that a CPU job without members.max leaves lanes for: then 1 to 4 ranks run the same recipe, with the same bits. */
const CPU_RANKS_FORESEEN = 4;

export type WorldReading =
  | { readonly ok: true; readonly worlds: readonly World[] }
  | { readonly ok: false; readonly reason: Reason };

/** Worlds to try, the preferred one first. One where the spec names it; else small ones first, as few as fit. */
export function worldsFor({ spec, devices }: PlanRequest, isCpu: boolean): WorldReading {
  const { replicas, min, max, gpus } = spec.resources.members;
  const room = Math.floor(devices.ranksMax / gpus);
  const needed = replicas ?? min ?? 1;
  if (needed > room) {
    const device = isCpu ? "CPU ranks" : `${devices.kind} GPUs`;
    const sentence = `${needed} members of ${gpus} need ${needed * gpus} ${device}; there is room for ${devices.ranksMax}`;
    return { ok: false, reason: { code: "NotEnoughDevices", sentence } };
  }
  const bounds = { least: min ?? 1, most: Math.min(max ?? room, room) };
  const planned = isCpu ? embeddedCounts(bounds, devices.coresCount) : gangCounts(bounds);
  const counts = replicas === null ? planned : [replicas];
  const worlds = counts.map((members) => ({
    members,
    ranksPerMember: gpus,
    ranks: members * gpus,
  }));
  return { ok: true, worlds };
}

interface MemberBounds {
  readonly least: number;
  readonly most: number;
}

/** Two members where there are two cores; one where two do not fit. */
function embeddedCounts({ least, most }: MemberBounds, coresCount: number): number[] {
  const preferred = Math.max(least, Math.min(EMBEDDED_MEMBERS, most, coresCount));
  return preferred > least ? [preferred, least] : [preferred];
}

/** Doubling from the least: a job takes as many devices as it needs, not as many as there are. */
function gangCounts({ least, most }: MemberBounds): number[] {
  const counts: number[] = [];
  for (let members = least; members < most; members *= 2) counts.push(members);
  return [...counts, most];
}

/** Ranks of the largest world that the job may ever have: it decides how many lanes a step has. */
export function ranksAllowed({ spec }: PlanRequest, world: World): number {
  const { max, replicas, gpus } = spec.resources.members;
  return (max ?? Math.max(replicas ?? 0, world.members, EMBEDDED_MEMBERS)) * gpus;
}

export interface StepShape {
  readonly lanes: number;
  readonly microBatchesPerLane: number;
  readonly microBatchRows: number;
}

/**
 * Shapes to try, the preferred one first, each with half the micro-batch of the one before. A recipe that runs
 * already, or a spec that names lanes and micro-batch, leaves one.
 */
export function shapesFor(request: PlanRequest, setting: PlanSetting, world: World): StepShape[] {
  const { spec, recipe } = request;
  if (recipe !== null) {
    const { lanes, microBatchesPerLane, microBatchRows } = recipe;
    return [{ lanes, microBatchesPerLane, microBatchRows }];
  }
  const allowed = ranksAllowed(request, world);
  const preferred = spec.train.microBatch ?? preferredRows(request, setting, allowed);
  const shapes: StepShape[] = [];
  for (let rows = preferred; rows >= 1; rows = Math.floor(rows / 2)) {
    shapes.push(shapeOf(spec, rows, { isAdapter: setting.adapter !== null, allowed }));
    if (spec.train.microBatch !== null) break;
  }
  return shapes;
}

/** The largest power of two of rows that leaves enough lanes and stays within the tokens that a device gains from. */
function preferredRows({ spec }: PlanRequest, setting: PlanSetting, allowed: number): number {
  const { batchSize, lanes } = spec.train;
  const isAdapter = setting.adapter !== null;
  const goal = lanes ?? (isAdapter ? adapterLanesGoal(allowed) : fullLanes(spec, allowed));
  const rowsMax = Math.max(1, Math.floor(batchSize / Math.min(batchSize, goal)));
  const tokensGoal = setting.device.isCpu ? CPU_TOKENS_GOAL : GPU_TOKENS_GOAL;
  const rowsUseful = Math.max(1, Math.floor(tokensGoal / setting.rowTokensBound));
  const least = lanes === null && isCpuAdapter(setting) ? cpuRowsLeast(spec, setting, allowed) : 1;
  return 2 ** Math.floor(Math.log2(Math.min(Math.max(rowsMax, least), rowsUseful)));
}

/** Whether the rows of a micro-batch are decided by cpuRowsLeast, not by the speed of one world. */
export function isCpuAdapter({ device, adapter }: PlanSetting): boolean {
  return device.isCpu && adapter !== null;
}

/**
 * Rows that bring a CPU's micro-batch to CPU_TOKENS_LEAST tokens of usual rows, while the lanes stay a multiple of L,
 * the smallest power of two ≥ the largest world: then every allowed rank has work, and 1, 2, 4, … ranks have equal
 * work. min(2^⌈log2(256 / usual row)⌉, the largest power of two that divides batch / L), at least 1.
 */
function cpuRowsLeast(spec: JobSpec, setting: PlanSetting, allowed: number): number {
  const { train, resources } = spec;
  const ranks = foreseenRanks(resources.members.max, allowed);
  const lanesLeast = 2 ** Math.ceil(Math.log2(ranks));
  const wanted = 2 ** Math.ceil(Math.log2(CPU_TOKENS_LEAST / setting.rowTokensUsual));
  let rows = 1;
  while (rows * 2 <= wanted && train.batchSize % (rows * 2 * lanesLeast) === 0) rows *= 2;
  return rows;
}

function foreseenRanks(membersMax: number | null, allowed: number): number {
  return membersMax === null ? Math.max(CPU_RANKS_FORESEEN, allowed) : allowed;
}

/** Why a CPU's micro-batch of an adapter has its rows; null where the job, or another rule, decided. */
export function rowsReason(
  request: PlanRequest,
  setting: PlanSetting,
  chosen: { readonly world: World; readonly shape: StepShape },
): string | null {
  const { recipe, spec } = request;
  const isGiven = recipe !== null || spec.train.lanes !== null || spec.train.microBatch !== null;
  if (isGiven || !isCpuAdapter(setting)) return null;
  const { microBatchRows: rows, lanes } = chosen.shape;
  const ranks = foreseenRanks(spec.resources.members.max, ranksAllowed(request, chosen.world));
  const usual = Math.round(setting.rowTokensUsual);
  if (rows > 1) {
    return `${rows} rows of about ${usual} tokens are computed together, because a CPU gains from it; ${lanes} lanes leave work for each of up to ${ranks} ranks.`;
  }
  if (usual >= CPU_TOKENS_LEAST || spec.train.batchSize < 2) return null;
  return `Rows of about ${usual} tokens are computed one at a time, so that each of up to ${ranks} ranks has work; a CPU computes several together faster, which a larger train.batchSize or a smaller resources.members.max would allow.`;
}

function adapterLanesGoal(allowed: number): number {
  return Math.min(ADAPTER_LANES_MAX, Math.max(ADAPTER_LANES_GOAL, LANES_PER_RANK * allowed));
}

/** Full tuning: the smallest power of two ≥ 4 × the largest world; one lane for a job that never has peers. */
function fullLanes(spec: JobSpec, allowed: number): number {
  if (allowed === 1) return 1;
  return Math.min(2 ** Math.ceil(Math.log2(LANES_PER_RANK * allowed)), spec.train.batchSize);
}

function shapeOf(
  spec: JobSpec,
  microBatchRows: number,
  job: { readonly isAdapter: boolean; readonly allowed: number },
): StepShape {
  const { batchSize, lanes } = spec.train;
  if (lanes !== null) {
    const microBatchesPerLane = Math.ceil(batchSize / (lanes * microBatchRows));
    return { lanes, microBatchesPerLane, microBatchRows };
  }
  const microBatches = Math.ceil(batchSize / microBatchRows);
  const wanted = job.isAdapter
    ? Math.min(microBatches, ADAPTER_LANES_MAX)
    : Math.min(microBatches, fullLanes(spec, job.allowed));
  const microBatchesPerLane = Math.ceil(microBatches / wanted);
  // Lanes that never have a row would only unbalance the ranks that hold them.
  return {
    lanes: Math.ceil(microBatches / microBatchesPerLane),
    microBatchesPerLane,
    microBatchRows,
  };
}
