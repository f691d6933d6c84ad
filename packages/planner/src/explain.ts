/** A plan in sentences: what it does, what it costs, and what losing or adding a rank would do. */
import { bytesText, counted, durationText } from "@shardwright/job";
import { blocksCount } from "./flat.ts";
import { CPU_FLOPS_PER_THREAD } from "./gpu-card.ts";
import { laneEfficiency } from "./lanes.ts";
import { FITS_RATIO_MAX } from "./memory.ts";
import type { MemoryBytes, ParallelPlan } from "./parallel-plan.ts";
import { type Candidate, type Weighing, weigh } from "./plan-candidates.ts";
import { rowsReason } from "./plan-shape.ts";
import { SNAPSHOT_OVERHEAD_MAX, type SnapshotChoice } from "./snapshots.ts";
import { MFU_PRIOR } from "./speed.ts";

/** Categories of memory, in the order of every report. */
export const MEMORY_CATEGORIES = [
  "weights",
  "gradients",
  "optimizer",
  "replicas",
  "activations",
  "logits",
  "transients",
  "context",
  "slack",
] as const satisfies readonly (keyof MemoryBytes)[];

type Explained = Omit<ParallelPlan, "explanation" | "warnings">;

/** What was decided, beside the plan that says it. */
export interface Chosen {
  readonly weighing: Weighing;
  readonly chosen: Candidate;
  readonly snapshots: SnapshotChoice;
}

/** The explanation of a plan, one sentence a line, in the order in which it was decided. */
export function explainPlan(plan: Explained, { weighing, chosen, snapshots }: Chosen): string[] {
  return [
    whatIsTrained(plan, weighing),
    memorySentence(plan, chosen),
    worldSentence(plan),
    ...stageSentences(weighing, chosen),
    lanesSentence(plan, weighing),
    ...rowsSentences(weighing, chosen),
    efficiencySentence(plan),
    stateSentence(plan, weighing),
    snapshotSentence(plan, snapshots),
    ...recipeSentences(plan, weighing),
    timeSentence(plan, weighing, chosen),
    savesSentence(plan, weighing),
  ];
}

function whatIsTrained(plan: Explained, { request, setting }: Weighing): string {
  const { card, spec } = request;
  const all = grouped(card.parameters);
  if (setting.adapter === null) return `Full tuning trains all ${all} parameters.`;
  const share = ((plan.trainableElements / card.parameters) * 100).toFixed(2);
  const trained = grouped(plan.trainableElements);
  const linears = counted(setting.adapter.linears.length, "linear");
  return `LoRA r ${spec.tuning.r} on ${linears} of each of ${card.layers} layers trains ${trained} beside ${all} frozen parameters (${share} %).`;
}

/** 134515008 → `134,515,008`. */
function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

function memorySentence(plan: Explained, chosen: Candidate): string {
  const parts = MEMORY_CATEGORIES.filter((name) => plan.memory[name] > 0).map(
    (name) => `${name} ${bytesText(plan.memory[name])}`,
  );
  const usable = bytesText(plan.deviceBytes * FITS_RATIO_MAX);
  return `A rank peaks at ${bytesText(plan.peakBytesPredicted)} of ${usable} usable, in its ${chosen.memory.phase} phase: ${parts.join(", ")}.`;
}

function worldSentence(plan: Explained): string {
  const members = counted(plan.members, "member");
  const recompute =
    plan.recipe.gradientCheckpointing === "full"
      ? "layers are computed twice so that their activations need not be kept"
      : "nothing is recomputed";
  return `${members} of ${counted(plan.ranksPerMember, "rank")}, ZeRO stage ${plan.zeroStage}; ${recompute}.`;
}

/** What of the state is shared out, what that costs on the wire, and why no less. */
function stageSentences(weighing: Weighing, chosen: Candidate): string[] {
  if (chosen.world.ranks === 1) return [];
  const asked = weighing.request.spec.train.zeroStage === null ? "" : ", as asked";
  const sends = `a rank sends ${bytesText(chosen.sentBytes)} a step`;
  switch (chosen.stage) {
    case 0:
      return [
        `Stage 0${asked}: every rank holds the whole optimizer state and updates every parameter itself, so none is sent; ${sends}.`,
      ];
    case 1:
      return [
        `Stage 1${asked}: optimizer state is shared out, gradients are summed on each rank and sent once; ${sends}.`,
      ];
    case 2: {
      const one = weigh(weighing, { ...chosen, stage: 1 });
      const saved = bytesText(Math.max(0, one.memory.peakBytes - chosen.memory.peakBytes));
      const why = one.fits ? "" : ", which does not fit";
      return [
        `Stage 2${asked}: each lane's gradient is sent when it is finished and its buffer used again, which saves ${saved} per rank over stage 1${why}; ${sends} instead of ${bytesText(one.sentBytes)}.`,
      ];
    }
    default:
      return [];
  }
}

function lanesSentence({ recipe }: Explained, { request }: Weighing): string {
  const batches = counted(recipe.microBatchesPerLane, "micro-batch", "micro-batches");
  const order =
    request.spec.exactness === "fast"
      ? "each rank sums its own as they come (exactness fast), so bits may differ when the world changes"
      : "they are summed in one order, so the weights do not depend on who computes them";
  return `A step is ${counted(recipe.lanes, "lane")} of ${batches} of ${counted(recipe.microBatchRows, "row")}, fixed for the job; ${order}.`;
}

function rowsSentences({ request, setting }: Weighing, chosen: Candidate): string[] {
  const sentence = rowsReason(request, setting, chosen);
  return sentence === null ? [] : [sentence];
}

/** E(N) of this world and of its neighbours: what a lost or an added rank would mean. */
function efficiencySentence({ recipe, ranks }: Explained): string {
  const neighbours = [ranks - 1, ranks, ranks + 1].filter((count) => count >= 1);
  const shares = neighbours.map((count) => {
    return `${Math.round(laneEfficiency(recipe.lanes, count) * 100)} % with ${counted(count, "rank")}`;
  });
  return `Ranks are busy ${shares.join(", ")}.`;
}

function stateSentence(plan: Explained, { setting, request }: Weighing): string {
  const blocks = counted(blocksCount(plan.trainableElements, plan.blockElements), "block");
  const state = `The optimizer state is ${blocks} of ${grouped(plan.blockElements)} elements`;
  const back = plan.snapshotEverySteps > 0 ? "its last snapshot in memory" : "its last checkpoint";
  if (plan.ranks === 1)
    return `${state}, all on one rank; if it dies, the job goes back to ${back}.`;
  if (plan.copies >= plan.ranks) {
    const why = setting.adapter === null ? "" : " because an adapter's state is small";
    return `${state}; every rank holds every block${why}, so the job survives all but the last rank without losing a step.`;
  }
  if (plan.copies > 1) {
    return `${state} in ${plan.copies} copies on different members, because the second fits: a lost member costs no step.`;
  }
  const replay = request.spec.exactness === "fast" ? "" : ", and it replays to the same bits";
  return `${state} in one copy, because a second does not fit: a lost member sends the job back to ${back}${replay}.`;
}

/** How many steps are at stake when every live holder of a block dies, what that costs, or why nothing is done. */
function snapshotSentence(plan: Explained, snapshots: SnapshotChoice): string {
  const { everySteps, bytesPerRank, seconds, reason } = snapshots;
  if (everySteps === 0) return `No snapshots are kept in memory: ${reason.sentence}.`;
  const every = everySteps === 1 ? "Every step" : `Every ${everySteps} steps`;
  const where = plan.members > 1 ? "two members" : "the member";
  const cost = durationText(seconds * 1000);
  return `${every} a copy of the state stays in the memory of the agents of ${where} (${bytesText(bytesPerRank)} a rank, about ${cost}, at most ${SNAPSHOT_OVERHEAD_MAX * 100} % of the time): ranks may all die, at most ${counted(everySteps, "step")} ${everySteps === 1 ? "is" : "are"} computed again.`;
}

function recipeSentences({ recipe }: Explained, { request, setting }: Weighing): string[] {
  const sentences: string[] = [];
  if (request.spec.precision === "auto") {
    const why = setting.device.isCpu
      ? "a CPU computes it fastest"
      : "this device computes it at full rate";
    sentences.push(`Precision is ${recipe.computeDtype}: ${why}.`);
  }
  if (recipe.attention === "math") {
    const why =
      request.card.attention === "math"
        ? "the model caps its attention scores"
        : `examples may be longer than the model's window of ${request.card.slidingWindow} tokens`;
    sentences.push(`Attention takes the math path, which keeps score matrices: ${why}.`);
  }
  if (recipe.computedTokens === "needed") {
    const several = recipe.microBatchRows > 1 || request.spec.data.packing !== null;
    sentences.push(
      several
        ? "Tokens with which all examples of a micro-batch open are computed once, and those from an example's last learned one on not at all: no loss depends on more."
        : "Tokens from an example's last learned one on are not computed: no loss depends on them.",
    );
  }
  return sentences;
}

function timeSentence(
  plan: Explained,
  { request, setting, ratios }: Weighing,
  chosen: Candidate,
): string {
  const step = durationText(plan.stepSecondsPredicted * 1000);
  const basis =
    ratios === null
      ? `a guess until the first steps are measured: ${rateText(setting.device.isCpu)}`
      : `corrected by ${counted(ratios.observations, "earlier run")}`;
  const exposed =
    chosen.seconds.exposed > 0
      ? `, ${durationText(chosen.seconds.exposed * 1000)} of it communication`
      : "";
  const steps =
    plan.totalStepsPredicted === 0
      ? "; the number of steps is known once the data is prepared"
      : `; ${counted(plan.totalStepsPredicted, "step")} take ${durationText(plan.hoursPredicted * 3_600_000)}`;
  const rows =
    request.data === null ? ` with rows of about ${Math.round(setting.rowTokensMean)} tokens` : "";
  return `A step takes about ${step}${rows}${exposed} (${basis})${steps}.`;
}

function rateText(isCpu: boolean): string {
  return isCpu
    ? `${CPU_FLOPS_PER_THREAD / 1e9} GFLOP/s a thread`
    : `${MFU_PRIOR * 100} % of the sustained rate`;
}

function savesSentence(plan: Explained, { request, setting }: Weighing): string {
  const every = plan.saveEverySteps === 1 ? "every step" : `every ${plan.saveEverySteps} steps`;
  if (request.spec.checkpoint.every !== "auto")
    return `A checkpoint is written ${every}, as asked.`;
  const why =
    setting.adapter === null
      ? "the interval at which saving costs as much as faults make redone"
      : "an adapter's checkpoint costs about one percent of the time at that interval";
  return `A checkpoint is written ${every}: ${why}.`;
}
