/**
 * What a user reads of a job: the state, the conditions, the plan, the numbers. A projection that the control
 * plane makes; nothing is decided from it. Times are milliseconds since 1970, counts and bytes safe integers.
 */
import {
  type LedgerView,
  type MeasureView,
  NO_LEDGER,
  NO_TALLIES,
  type TalliesView,
} from "./accounts.ts";
import type { Reason } from "./faults.ts";
import type { JobUid } from "./ids.ts";
import type { JobDocument } from "./spec.ts";

/** For people and `-o wide`; scripts wait for conditions. */
export const JOB_STATES = [
  "Queued",
  "Starting",
  "Running",
  "Resharding",
  "Suspended",
  "Complete",
  "Failed",
  "Cancelled",
] as const;
export type JobState = (typeof JOB_STATES)[number];

/** A job in one of these never changes again. */
export const FINAL_STATES = ["Complete", "Failed", "Cancelled"] as const satisfies JobState[];
export type FinalState = (typeof FINAL_STATES)[number];

/** True for a state that a job never leaves. */
export function isFinal(state: JobState): state is FinalState {
  return (FINAL_STATES as readonly JobState[]).includes(state);
}

/** In the order in which they are listed. */
export const CONDITION_TYPES = [
  "Admitted",
  "PodsScheduled",
  "Running",
  "Progressing",
  "Checkpointed",
  "Suspended",
  "Complete",
  "Failed",
  "Cancelled",
] as const;
export type ConditionType = (typeof CONDITION_TYPES)[number];
export type ConditionStatus = "True" | "False" | "Unknown";

/** One true, false or unknown statement about a job, and why. */
export interface JobCondition {
  readonly type: ConditionType;
  readonly status: ConditionStatus;
  readonly reason: Reason;
  /** When `status` last changed; a new reason alone does not move it. */
  readonly lastTransitionMs: number;
}

/** Why a rank, a member or a job stopped; each cause has its rule and its own durable budget. */
export const CAUSES = [
  "user_error",
  "error",
  "oom",
  "communication",
  "hang",
  "node",
  "storage",
  "preempted",
  "killed",
  "unknown",
] as const;
export type Cause = (typeof CAUSES)[number];

/**
 * Codes of the decisions that the journal keeps; they are API. `warning` = somebody may want to look.
 * Reasons inside a plan or a placement have codes of their own.
 */
export const EVENT_REASONS = {
  Queued: "normal",
  Admitted: "normal",
  GangScheduled: "normal",
  PlacementRefused: "warning",
  GenerationCommitted: "normal",
  RankLost: "warning",
  MemberLost: "warning",
  MemberReplaced: "normal",
  StragglerDetected: "warning",
  StragglerRelieved: "normal",
  HangDetected: "warning",
  ReplannedAfterOOM: "warning",
  NumericsChanged: "warning",
  RecipeMismatch: "warning",
  CheckpointSaved: "normal",
  CheckpointFailed: "warning",
  CheckpointCorrupt: "warning",
  RestartedFromStep: "warning",
  Preempting: "normal",
  Preempted: "normal",
  Drained: "normal",
  Suspended: "normal",
  Resumed: "normal",
  PlanRefused: "warning",
  QuotaExceeded: "warning",
  BudgetExhausted: "warning",
  DeadlineExceeded: "warning",
  Completed: "normal",
  Failed: "warning",
  Cancelled: "normal",
} as const satisfies Record<string, "normal" | "warning">;
export type EventReason = keyof typeof EVENT_REASONS;

/** Bytes of one rank at its peak, by category; their sum is the peak. */
export interface MemoryView {
  readonly weights: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly replicas: number;
  readonly activations: number;
  readonly logits: number;
  readonly transients: number;
  readonly context: number;
  readonly slack: number;
}

/** What decides the bits of a run besides spec and data. */
export interface RecipeView {
  readonly computeDtype: string;
  readonly wireDtype: string;
  readonly lanes: number;
  readonly microBatchesPerLane: number;
  readonly microBatchRows: number;
  readonly rowTokens: number;
  readonly crossEntropyRows: number;
  readonly attention: string;
  readonly threadsPerRank: number;
  readonly optimizerImplementation: string;
  readonly gradientCheckpointing: string;
  readonly deviceType: string;
  /** "all" tokens of a micro-batch, or the "needed" ones only. */
  readonly computedTokens: string;
}

/**
 * How the job fits, as far as readers need it. The planner's `ParallelPlan` can be assigned to it; words that
 * are closed unions there are plain strings here, so that an older reader can show a newer plan.
 */
export interface PlanView {
  readonly zeroStage: number;
  readonly ranks: number;
  readonly members: number;
  readonly ranksPerMember: number;
  readonly blockElements: number;
  readonly trainableElements: number;
  readonly copies: number;
  readonly recipe: RecipeView;
  readonly memory: MemoryView;
  readonly peakBytesPredicted: number;
  readonly deviceBytes: number;
  readonly stepSecondsPredicted: number;
  /** 0 while the number of steps is not known. */
  readonly totalStepsPredicted: number;
  readonly hoursPredicted: number;
  readonly rejected: readonly (Reason & { readonly what: string })[];
  readonly explanation: readonly string[];
  readonly warnings: readonly string[];
  readonly saveEverySteps: number;
  readonly snapshotEverySteps: number;
  readonly fits: boolean;
}

/** Who trains now. */
export interface MembershipView {
  readonly generation: number;
  /** Members in the generation. */
  readonly running: number;
  readonly wanted: number;
  readonly ranks: number;
}

/** The last step that the journal holds. */
export interface ProgressView {
  /** Steps done. */
  readonly step: number;
  readonly totalSteps: number;
  readonly loss: number;
  readonly gradNorm: number;
  readonly learningRate: number;
  readonly tokensPerSecond: number;
  readonly trainedTokens: number;
  readonly processedTokens: number;
  readonly stepSeconds: number;
  readonly etaMs: number | null;
  readonly lastStepMs: number | null;
}

/** Faults survived so far. */
export interface RecoveriesView {
  readonly count: number;
  readonly stepsRedone: number;
  /** null while `count` is 0. */
  readonly last: { readonly cause: string; readonly seconds: number } | null;
}

/** The last committed checkpoint. */
export interface CheckpointView {
  readonly step: number;
  readonly commit: string;
  readonly committedMs: number;
}

/** Something that was exported, and where. */
export interface ArtifactView {
  /** `peft` or `hf`. */
  readonly format: string;
  readonly location: string;
}

/** The oracle of every kill test: hex without a prefix. */
export interface ResultView {
  readonly weightsSha256: string;
  readonly stateSha256: string;
  readonly consumedSha256: string;
  readonly artifacts: readonly ArtifactView[];
}

/** One metric of one variant of the model. */
export interface EvaluationView {
  readonly metric: string;
  /** `base` or `tuned`. */
  readonly variant: string;
  readonly value: number;
}

/** Parts that a job does not have yet are null. */
export interface JobStatusView {
  readonly state: JobState;
  readonly reason: Reason;
  /** At most one of each type, in the order of CONDITION_TYPES. */
  readonly conditions: readonly JobCondition[];
  readonly plan: PlanView | null;
  readonly membership: MembershipView | null;
  readonly progress: ProgressView | null;
  readonly recoveries: RecoveriesView;
  readonly checkpoint: CheckpointView | null;
  readonly result: ResultView | null;
  readonly evaluations: readonly EvaluationView[];
  readonly ledger: LedgerView;
  readonly tallies: TalliesView;
  /** null until a step was timed. */
  readonly measure: MeasureView | null;
}

/** A job as readers see it. */
export interface JobView {
  readonly tenant: string;
  readonly name: string;
  /** Also the name of the run in the checkpoint store. */
  readonly uid: JobUid;
  readonly revision: number;
  readonly createdMs: number;
  readonly finishedMs: number | null;
  readonly document: JobDocument;
  readonly status: JobStatusView;
}

/** No recovery yet. */
export const NO_RECOVERIES: RecoveriesView = { count: 0, stepsRedone: 0, last: null };

/** The status of a job that was accepted and has done nothing yet. */
export function queuedStatus(reason: Reason, plan: PlanView | null): JobStatusView {
  return {
    state: "Queued",
    reason,
    conditions: [],
    plan,
    membership: null,
    progress: null,
    recoveries: NO_RECOVERIES,
    checkpoint: null,
    result: null,
    evaluations: [],
    ledger: NO_LEDGER,
    tallies: NO_TALLIES,
    measure: null,
  };
}

/**
 * The conditions with one of them set. A condition that keeps its status keeps its transition time; one that
 * says exactly what it said before is left alone, so equal input gives the identical array.
 */
export function withCondition(
  conditions: readonly JobCondition[],
  next: JobCondition,
): readonly JobCondition[] {
  const before = conditions.find(({ type }) => type === next.type);
  if (before && saysTheSame(before, next)) return conditions;
  const kept =
    before?.status === next.status ? { ...next, lastTransitionMs: before.lastTransitionMs } : next;
  return CONDITION_TYPES.flatMap((type) => {
    if (type === next.type) return [kept];
    const other = conditions.find((condition) => condition.type === type);
    return other ? [other] : [];
  });
}

function saysTheSame(a: JobCondition, b: JobCondition): boolean {
  return (
    a.status === b.status &&
    a.reason.code === b.reason.code &&
    a.reason.sentence === b.reason.sentence
  );
}
