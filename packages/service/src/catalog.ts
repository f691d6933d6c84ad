/** One metric of one of our processes: what it means, and which labels and values it may have. */
export interface MetricDefinition {
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels: readonly string[];
  /** Labels whose values are a closed set. */
  readonly values?: Readonly<Record<string, readonly string[]>>;
  /** Upper bounds; histograms only. */
  readonly buckets?: readonly number[];
  /** The process that emits it. */
  readonly owner: "metrics-exporter" | "control-plane" | "every";
  /** `internal` metrics may change without notice. */
  readonly stability: "stable" | "internal";
}

import {
  INTERRUPTION_CAUSES,
  LEDGER_CATEGORIES,
  RECOVERY_KINDS,
  SAVE_FAILURES,
  STEP_SECTIONS,
} from "@shardwright/job/accounts";

const JOB = ["job_namespace", "job_name"] as const;
const STABLE = { stability: "stable" } as const;
const CONTROL_PLANE = { ...STABLE, owner: "control-plane" } as const;
const EXPORTER = { ...STABLE, owner: "metrics-exporter" } as const;

const jobGauge = (help: string) => ({ ...EXPORTER, type: "gauge", help, labels: JOB }) as const;
const jobCounter = (help: string) => ({ ...EXPORTER, type: "counter", help, labels: JOB }) as const;

/** States as the label `state` of `shardwright_job_state` spells them. */
export const JOB_STATES = [
  "queued",
  "starting",
  "running",
  "resharding",
  "suspended",
  "complete",
  "failed",
  "cancelled",
] as const;

/** Categories of planned memory, in the order of the plan. */
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
] as const;

/** Every metric that this release emits. Data only: emitters, tests and dashboards import it. */
export const METRICS = {
  shardwright_job_info: {
    ...EXPORTER,
    type: "gauge",
    help: "1 for every job; joins its queue, model, method and exactness to its other series.",
    labels: [...JOB, "queue", "model", "method", "exactness"],
  },
  shardwright_job_state: {
    ...EXPORTER,
    type: "gauge",
    help: "1 for the state the job is in, 0 for the others.",
    labels: [...JOB, "state"],
    values: { state: JOB_STATES },
  },
  shardwright_job_generation: jobGauge("Number of the committed generation of members."),
  shardwright_job_world_size: jobGauge("Ranks of the committed generation."),
  shardwright_job_members: {
    ...EXPORTER,
    type: "gauge",
    help: "Members the job wants and members that are running.",
    labels: [...JOB, "state"],
    values: { state: ["wanted", "joined"] },
  },
  shardwright_job_step: jobGauge("Last optimizer step that all ranks finished."),
  shardwright_job_steps_planned: jobGauge("Optimizer steps of the whole job."),
  shardwright_job_last_step_timestamp_seconds: jobGauge("When the last step finished."),
  shardwright_job_stall_threshold_seconds: jobGauge(
    "A job whose last step is older than this is stalled: max(600, 5 x p99 of its steps).",
  ),
  shardwright_job_redone_steps_total: jobCounter("Steps that were computed again."),
  shardwright_job_eta_timestamp_seconds: jobGauge("When the job will be done, as it looks now."),
  shardwright_job_gpus_held: jobGauge("GPUs, or CPU ranks, that the job holds."),
  shardwright_job_queue_wait_seconds: jobGauge("Wall time spent queued so far."),
  shardwright_job_gpu_seconds_total: {
    ...EXPORTER,
    type: "counter",
    help: "Held GPU seconds, or CPU-rank seconds, by what they were spent on; each once.",
    labels: [...JOB, "category"],
    values: { category: LEDGER_CATEGORIES },
  },
  shardwright_job_gpu_seconds_unsettled: jobGauge(
    "GPU seconds of training that no checkpoint covers yet: they become productive or redone.",
  ),
  shardwright_job_interruptions_total: {
    ...EXPORTER,
    type: "counter",
    help: "Faults that ended a generation, by cause; counted when they are over.",
    labels: [...JOB, "cause"],
    values: { cause: INTERRUPTION_CAUSES },
  },
  shardwright_job_recoveries_total: {
    ...EXPORTER,
    type: "counter",
    help: "Generations that recovered from a fault, by how.",
    labels: [...JOB, "kind"],
    values: { kind: RECOVERY_KINDS },
  },
  shardwright_train_tokens_total: {
    ...EXPORTER,
    type: "counter",
    help: "Tokens of the data that were processed, padding included, computed or not, and tokens that were learned from; each step once.",
    labels: [...JOB, "kind"],
    values: { kind: ["processed", "trained"] },
  },
  shardwright_train_tokens_per_second: jobGauge("Processed tokens per second, last report."),
  shardwright_train_step_seconds: jobGauge("Duration of the last step."),
  shardwright_train_step_duration_seconds: {
    ...CONTROL_PLANE,
    type: "histogram",
    help: "Duration of recorded steps, slowest rank.",
    labels: JOB,
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
  },
  shardwright_train_section_seconds_total: {
    ...EXPORTER,
    type: "counter",
    help: "Where the time of steps went, slowest rank of each step.",
    labels: [...JOB, "section"],
    values: { section: STEP_SECTIONS },
  },
  shardwright_train_memory_peak_bytes: jobGauge("Largest resident size of a rank process so far."),
  shardwright_train_loss: jobGauge("Loss of the last step."),
  shardwright_train_grad_norm: jobGauge("Gradient norm of the last step, before clipping."),
  shardwright_train_learning_rate: jobGauge("Learning rate of the last step."),
  shardwright_plan_memory_bytes: {
    ...EXPORTER,
    type: "gauge",
    help: "Predicted peak memory of the worst rank, by category.",
    labels: [...JOB, "category"],
    values: { category: MEMORY_CATEGORIES },
  },
  shardwright_checkpoint_last_success_timestamp_seconds: jobGauge(
    "When the last checkpoint was committed.",
  ),
  shardwright_checkpoint_last_step: jobGauge("Step of the last committed checkpoint."),
  shardwright_checkpoint_bytes: jobGauge("Size of the last committed checkpoint."),
  shardwright_checkpoint_saves_total: jobCounter("Committed saves."),
  shardwright_checkpoint_failures_total: {
    ...EXPORTER,
    type: "counter",
    help: "Saves that were not committed, by reason.",
    labels: [...JOB, "reason"],
    values: { reason: SAVE_FAILURES },
  },
  shardwright_checkpoint_stall_seconds_total: jobCounter(
    "How long copying blocks for saves has blocked training.",
  ),
  shardwright_checkpoint_save_duration_seconds: {
    ...CONTROL_PLANE,
    type: "histogram",
    help: "From the first copied block of a save to its commit.",
    labels: [],
    buckets: [0.1, 0.5, 1, 5, 15, 60, 300],
  },
  shardwright_recovery_duration_seconds: {
    ...CONTROL_PLANE,
    type: "histogram",
    help: "From the verdict on a fault to the next step that is recorded.",
    labels: ["kind"],
    values: { kind: RECOVERY_KINDS },
    buckets: [0.1, 0.5, 1, 2, 5, 10, 30, 60, 300],
  },
  shardwright_generation_changes_total: {
    ...CONTROL_PLANE,
    type: "counter",
    help: "Committed generations, by why they were made.",
    labels: ["reason"],
    values: { reason: ["Started", "Restarted", "RankLost", "MembershipChanged"] },
  },
  shardwright_transfer_bytes_total: {
    ...CONTROL_PLANE,
    type: "counter",
    help: "Optimizer state that moved from rank to rank between generations.",
    labels: ["reason"],
    values: { reason: ["Started", "Restarted", "RankLost", "MembershipChanged"] },
  },
  shardwright_queue_jobs: {
    ...CONTROL_PLANE,
    type: "gauge",
    help: "Jobs that wait for their turn, and jobs that hold devices.",
    labels: ["queue", "status"],
    values: { status: ["pending", "admitted"] },
  },
  shardwright_queue_wait_seconds: {
    ...CONTROL_PLANE,
    type: "histogram",
    help: "From submission to placement.",
    labels: ["queue"],
    buckets: [1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400],
  },
  shardwright_scheduler_cycle_duration_seconds: {
    ...CONTROL_PLANE,
    type: "histogram",
    help: "Duration of a scheduler cycle, its decisions applied.",
    labels: [],
    buckets: [0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 2],
  },
  shardwright_scheduler_attempts_total: {
    ...CONTROL_PLANE,
    type: "counter",
    help: "Jobs that a scheduler cycle looked at, by what came of it.",
    labels: ["result"],
    values: { result: ["placed", "waiting"] },
  },
  shardwright_scheduler_waits_total: {
    ...CONTROL_PLANE,
    type: "counter",
    help: "Jobs that a scheduler cycle left waiting, by reason code.",
    labels: ["reason"],
  },
  shardwright_member_info: {
    ...EXPORTER,
    type: "gauge",
    help: "1 for every member; joins its pod and node to the job.",
    labels: [...JOB, "member", "member_pod", "member_node"],
  },
  shardwright_journal_append_duration_seconds: {
    ...STABLE,
    owner: "control-plane",
    type: "histogram",
    help: "Time from a write request to its durable acknowledgement.",
    labels: [],
    buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 2],
  },
  shardwright_grpc_server_handled_total: {
    ...STABLE,
    owner: "every",
    type: "counter",
    help: "Finished gRPC calls.",
    labels: ["grpc_service", "grpc_method", "grpc_code"],
  },
  shardwright_grpc_server_handling_seconds: {
    ...STABLE,
    owner: "every",
    type: "histogram",
    help: "Duration of unary gRPC calls.",
    labels: ["grpc_service", "grpc_method"],
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30],
  },
  shardwright_grpc_streams: {
    ...STABLE,
    owner: "every",
    type: "gauge",
    help: "Open gRPC streams.",
    labels: ["grpc_service", "grpc_method"],
  },
  shardwright_auth_refusals_total: {
    ...STABLE,
    owner: "every",
    type: "counter",
    help: "Calls refused for want of a valid token or right.",
    labels: ["reason"],
    values: { reason: ["unauthenticated", "forbidden"] },
  },
  shardwright_build_info: {
    ...STABLE,
    owner: "metrics-exporter",
    type: "gauge",
    help: "1; says which version runs.",
    labels: ["version"],
  },
} as const satisfies Record<string, MetricDefinition>;

export type MetricName = keyof typeof METRICS;
export const METRIC_NAMES = Object.keys(METRICS) as readonly MetricName[];
