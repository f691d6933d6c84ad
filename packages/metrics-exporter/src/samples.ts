import type { JobStatusView, JobView } from "@shardwright/job";
import {
  INTERRUPTION_CAUSES,
  LEDGER_CATEGORIES,
  ledgerAt,
  RECOVERY_KINDS,
  SAVE_FAILURES,
  STEP_SECTIONS,
} from "@shardwright/job/accounts";
import { JOB_STATES, MEMORY_CATEGORIES, type MetricName } from "@shardwright/service/catalog";

/** One value of one series. */
export interface Sample {
  readonly metric: MetricName;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A member as the join target of node and pod series. */
export interface MemberFact {
  readonly member: string;
  /** Empty outside a cluster. */
  readonly pod: string;
  readonly node: string;
}

/** What is known of a job besides its view. */
export interface JobFacts {
  readonly members: readonly MemberFact[];
  /** Durations of its last steps, for the stall threshold. */
  readonly stepSeconds: readonly number[];
}

// A stalled job is told from a slow one only after this long, whatever its steps take.
const STALL_SECONDS_MIN = 600;
const STALL_STEPS = 5;
// A label value longer than this says no more, and user text must not grow the series without bound.
const LABEL_CHARS_MAX = 64;

/** Every sample of one job at `nowMs`. Pure; a part the job does not have yet has no samples. */
export function samplesOf(job: JobView, facts: JobFacts, nowMs: number): readonly Sample[] {
  const labels = { job_namespace: job.tenant, job_name: job.name };
  const make = (metric: MetricName, value: number, more: Record<string, string> = {}): Sample => ({
    metric,
    labels: { ...labels, ...more },
    value,
  });
  return [
    make("shardwright_job_info", 1, infoOf(job)),
    ...stateOf(job.status).map(([state, value]) => make("shardwright_job_state", value, { state })),
    make("shardwright_job_gpus_held", ranksHeld(job.status)),
    make("shardwright_job_queue_wait_seconds", queueWaitSeconds(job, nowMs)),
    ...ledgerSamples(job, make, nowMs),
    ...tallySamples(job, make),
    ...measureSamples(job, make),
    make("shardwright_job_redone_steps_total", job.status.recoveries.stepsRedone),
    make("shardwright_job_stall_threshold_seconds", stallSeconds(facts.stepSeconds)),
    ...membershipSamples(job, make),
    ...progressSamples(job, make),
    ...planSamples(job, make),
    ...checkpointSamples(job, make),
    ...facts.members.map(({ member, pod, node }) =>
      make("shardwright_member_info", 1, { member, member_pod: pod, member_node: node }),
    ),
  ];
}

type Make = (metric: MetricName, value: number, more?: Record<string, string>) => Sample;

function infoOf({ document: { spec } }: JobView): Record<string, string> {
  return {
    queue: label(spec.queue),
    // The last part of the source: a path is nobody's business, and unbounded.
    model: label(spec.model.source.replace(/\/+$/, "").split(/[/:]/).at(-1) ?? ""),
    method: spec.tuning.method,
    exactness: spec.exactness,
  };
}

function stateOf(status: JobStatusView): readonly (readonly [string, number])[] {
  return JOB_STATES.map((state) => [state, state === status.state.toLowerCase() ? 1 : 0]);
}

function membershipSamples({ status: { membership } }: JobView, make: Make): readonly Sample[] {
  if (membership === null) return [];
  return [
    make("shardwright_job_generation", membership.generation),
    make("shardwright_job_world_size", membership.ranks),
    make("shardwright_job_members", membership.wanted, { state: "wanted" }),
    make("shardwright_job_members", membership.running, { state: "joined" }),
  ];
}

function progressSamples({ status: { progress } }: JobView, make: Make): readonly Sample[] {
  if (progress === null) return [];
  const { lastStepMs, etaMs } = progress;
  return [
    make("shardwright_job_step", progress.step),
    make("shardwright_job_steps_planned", progress.totalSteps),
    make("shardwright_train_loss", progress.loss),
    make("shardwright_train_grad_norm", progress.gradNorm),
    make("shardwright_train_learning_rate", progress.learningRate),
    make("shardwright_train_step_seconds", progress.stepSeconds),
    make("shardwright_train_tokens_per_second", progress.tokensPerSecond),
    make("shardwright_train_tokens_total", progress.processedTokens, { kind: "processed" }),
    make("shardwright_train_tokens_total", progress.trainedTokens, { kind: "trained" }),
    ...(lastStepMs === null
      ? []
      : [make("shardwright_job_last_step_timestamp_seconds", lastStepMs / 1000)]),
    ...(etaMs === null ? [] : [make("shardwright_job_eta_timestamp_seconds", etaMs / 1000)]),
  ];
}

function planSamples({ status: { plan } }: JobView, make: Make): readonly Sample[] {
  if (plan === null) return [];
  return MEMORY_CATEGORIES.map((category) =>
    make("shardwright_plan_memory_bytes", plan.memory[category], { category }),
  );
}

function checkpointSamples({ status: { checkpoint } }: JobView, make: Make): readonly Sample[] {
  if (checkpoint === null) return [];
  return [
    make("shardwright_checkpoint_last_step", checkpoint.step),
    make("shardwright_checkpoint_last_success_timestamp_seconds", checkpoint.committedMs / 1000),
  ];
}

/** Booked time, and what is open as it stands now; unsettled training is a gauge because it may become redone. */
function ledgerSamples({ status }: JobView, make: Make, nowMs: number): readonly Sample[] {
  const { byCategory, unsettledMs } = ledgerAt(status.ledger, nowMs);
  return [
    ...LEDGER_CATEGORIES.map((category) =>
      make("shardwright_job_gpu_seconds_total", byCategory[category].ms / 1000, { category }),
    ),
    make("shardwright_job_gpu_seconds_unsettled", unsettledMs / 1000),
  ];
}

function tallySamples({ status: { tallies } }: JobView, make: Make): readonly Sample[] {
  const { interruptions, recoveries, saveFailures, saves, lastSave } = tallies;
  return [
    ...INTERRUPTION_CAUSES.map((cause) =>
      make("shardwright_job_interruptions_total", interruptions[cause], { cause }),
    ),
    ...RECOVERY_KINDS.map((kind) =>
      make("shardwright_job_recoveries_total", recoveries[kind], { kind }),
    ),
    ...SAVE_FAILURES.map((reason) =>
      make("shardwright_checkpoint_failures_total", saveFailures[reason], { reason }),
    ),
    make("shardwright_checkpoint_saves_total", saves),
    ...(lastSave === null ? [] : [make("shardwright_checkpoint_bytes", lastSave.bytes)]),
  ];
}

function measureSamples({ status: { measure } }: JobView, make: Make): readonly Sample[] {
  if (measure === null) return [];
  return [
    ...STEP_SECTIONS.map((section) =>
      make("shardwright_train_section_seconds_total", Math.max(0, measure.sections[section]), {
        section,
      }),
    ),
    make("shardwright_train_memory_peak_bytes", measure.peakBytes),
    make("shardwright_checkpoint_stall_seconds_total", measure.stallSeconds),
  ];
}

/** Ranks that have devices now: those of the generation, or of the plan while the first one forms. */
function ranksHeld({ state, membership, plan }: JobStatusView): number {
  const holds = state === "Starting" || state === "Running" || state === "Resharding";
  return holds ? (membership?.ranks ?? plan?.ranks ?? 0) : 0;
}

/** From submission to admission; a job that ended unadmitted waited until its end. */
function queueWaitSeconds(job: JobView, nowMs: number): number {
  const admitted = job.status.conditions.find(({ type }) => type === "Admitted");
  const until = admitted?.status === "True" ? admitted.lastTransitionMs : (job.finishedMs ?? nowMs);
  return Math.max(0, until - job.createdMs) / 1000;
}

function stallSeconds(stepSeconds: readonly number[]): number {
  const sorted = [...stepSeconds].sort((a, b) => a - b);
  const p99 = sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0;
  return Math.max(STALL_SECONDS_MIN, STALL_STEPS * p99);
}

function label(text: string): string {
  return text.slice(0, LABEL_CHARS_MAX);
}
