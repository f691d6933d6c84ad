/** JobView ↔ the wire's Job. What comes from the wire is checked once, here. */
import type { Job, JobState as WireState, JobStatus as WireStatus } from "@shardwright/proto";
import { canonicalJson } from "./canonical-json.ts";
import { Fault, type Reason } from "./faults.ts";
import { readJobUid } from "./ids.ts";
import { parseJobSpec } from "./parse.ts";
import {
  CONDITION_TYPES,
  type ConditionStatus,
  type ConditionType,
  type JobCondition,
  type JobState,
  type JobStatusView,
  type JobView,
  type ProgressView,
  type RecoveriesView,
} from "./phase.ts";
import type { JobSpec } from "./spec.ts";
import {
  ledgerFromWire,
  ledgerToWire,
  measureFromWire,
  measureToWire,
  talliesFromWire,
  talliesToWire,
} from "./wire-accounts.ts";
import { count, planFromWire, planToWire } from "./wire-plan.ts";

export { count, planFromWire, planToWire, recipeFromWire, recipeToWire } from "./wire-plan.ts";

const TO_WIRE = {
  Queued: "JOB_STATE_QUEUED",
  Starting: "JOB_STATE_STARTING",
  Running: "JOB_STATE_RUNNING",
  Resharding: "JOB_STATE_RESHARDING",
  Suspended: "JOB_STATE_SUSPENDED",
  Complete: "JOB_STATE_COMPLETE",
  Failed: "JOB_STATE_FAILED",
  Cancelled: "JOB_STATE_CANCELLED",
} as const satisfies Record<JobState, WireState>;

/** The expanded spec as it travels and is stored: canonical JSON. */
export function specToJson(spec: JobSpec): string {
  return canonicalJson(spec);
}

/** The spec travels as canonical JSON, with everything written out. */
export function jobToWire(view: JobView): Job {
  return {
    tenant: view.tenant,
    name: view.name,
    uid: view.uid,
    revision: BigInt(view.revision),
    createdTime: new Date(view.createdMs),
    specJson: specToJson(view.document.spec),
    status: statusToWire(view.status),
    labels: { ...view.document.metadata.labels },
    annotations: { ...view.document.metadata.annotations },
    finishedTime: dateOrNone(view.finishedMs),
  };
}

/** Throws a Fault `internal` when the sender's job is none: another version, or a bug. */
export function jobFromWire(job: Job): JobView {
  const uid = readJobUid(job.uid);
  if (uid === null) throw notAJob(job, `its uid is "${job.uid}"`);
  if (!job.status) throw notAJob(job, "it has no status");
  return {
    tenant: job.tenant,
    name: job.name,
    uid,
    revision: count(job.revision),
    createdMs: job.createdTime?.getTime() ?? 0,
    finishedMs: job.finishedTime?.getTime() ?? null,
    document: {
      metadata: { name: job.name, labels: { ...job.labels }, annotations: { ...job.annotations } },
      spec: specFromWire(job),
    },
    status: statusFromWire(job, job.status),
  };
}

function notAJob(job: Job, why: string): Fault {
  const message = `job "${job.name}" cannot be read: ${why}; do both sides have the same version?`;
  return new Fault("internal", message);
}

function specFromWire(job: Job): JobSpec {
  let value: unknown;
  try {
    value = JSON.parse(job.specJson);
  } catch {
    throw notAJob(job, "its spec is no JSON");
  }
  const reading = parseJobSpec(value);
  if (reading.ok) return reading.spec;
  const [first] = reading.complaints;
  throw notAJob(job, `${first?.path} ${first?.problem}`);
}

function dateOrNone(ms: number | null): Date | undefined {
  return ms === null ? undefined : new Date(ms);
}

function statusToWire(status: JobStatusView): WireStatus {
  return {
    state: TO_WIRE[status.state],
    reason: { ...status.reason },
    conditions: status.conditions.map(conditionToWire),
    plan: status.plan === null ? undefined : planToWire(status.plan),
    membership: status.membership
      ? {
          generation: BigInt(status.membership.generation),
          runningCount: status.membership.running,
          wantedCount: status.membership.wanted,
          ranksCount: status.membership.ranks,
        }
      : undefined,
    progress: status.progress ? progressToWire(status.progress) : undefined,
    recoveries: recoveriesToWire(status.recoveries),
    checkpoint: status.checkpoint
      ? {
          step: BigInt(status.checkpoint.step),
          commit: status.checkpoint.commit,
          committedTime: new Date(status.checkpoint.committedMs),
        }
      : undefined,
    result: status.result
      ? { ...status.result, artifacts: status.result.artifacts.map((one) => ({ ...one })) }
      : undefined,
    evaluations: status.evaluations.map((one) => ({ ...one })),
    ledger: ledgerToWire(status.ledger),
    tallies: talliesToWire(status.tallies),
    measure: status.measure === null ? undefined : measureToWire(status.measure),
  };
}

function statusFromWire(job: Job, status: WireStatus): JobStatusView {
  return {
    state: stateFromWire(job, status.state),
    reason: reasonFromWire(status.reason),
    conditions: status.conditions.flatMap(conditionFromWire),
    plan: status.plan ? planFromWire(status.plan) : null,
    membership: status.membership
      ? {
          generation: count(status.membership.generation),
          running: status.membership.runningCount,
          wanted: status.membership.wantedCount,
          ranks: status.membership.ranksCount,
        }
      : null,
    progress: status.progress ? progressFromWire(status.progress) : null,
    recoveries: recoveriesFromWire(status.recoveries),
    checkpoint: status.checkpoint
      ? {
          step: count(status.checkpoint.step),
          commit: status.checkpoint.commit,
          committedMs: status.checkpoint.committedTime?.getTime() ?? 0,
        }
      : null,
    result: status.result
      ? { ...status.result, artifacts: status.result.artifacts.map((one) => ({ ...one })) }
      : null,
    evaluations: status.evaluations.map(({ metric, variant, value }) => ({
      metric,
      variant,
      value,
    })),
    ledger: ledgerFromWire(status.ledger),
    tallies: talliesFromWire(status.tallies),
    measure: status.measure === undefined ? null : measureFromWire(status.measure),
  };
}

function stateFromWire(job: Job, state: WireState): JobState {
  for (const [name, word] of Object.entries(TO_WIRE)) {
    if (word === state) return name as JobState;
  }
  throw notAJob(job, `its state is ${state}`);
}

function reasonFromWire(reason: Reason | undefined): Reason {
  return { code: reason?.code ?? "", sentence: reason?.sentence ?? "" };
}

function conditionToWire(condition: JobCondition): WireStatus["conditions"][number] {
  return {
    type: condition.type,
    status: condition.status,
    reason: { ...condition.reason },
    lastTransitionTime: new Date(condition.lastTransitionMs),
  };
}

const CONDITION_STATUSES: readonly string[] = ["True", "False", "Unknown"];

/** A condition of a type we do not know is a newer server's: left out, not refused. */
function conditionFromWire(condition: WireStatus["conditions"][number]): JobCondition[] {
  if (!(CONDITION_TYPES as readonly string[]).includes(condition.type)) return [];
  const known = CONDITION_STATUSES.includes(condition.status);
  return [
    {
      type: condition.type as ConditionType,
      status: known ? (condition.status as ConditionStatus) : "Unknown",
      reason: reasonFromWire(condition.reason),
      lastTransitionMs: condition.lastTransitionTime?.getTime() ?? 0,
    },
  ];
}

function progressToWire(progress: ProgressView): NonNullable<WireStatus["progress"]> {
  return {
    step: BigInt(progress.step),
    totalSteps: BigInt(progress.totalSteps),
    loss: progress.loss,
    gradNorm: progress.gradNorm,
    learningRate: progress.learningRate,
    tokensPerSecond: progress.tokensPerSecond,
    trainedTokensCount: BigInt(progress.trainedTokens),
    processedTokensCount: BigInt(progress.processedTokens),
    stepSeconds: progress.stepSeconds,
    etaTime: dateOrNone(progress.etaMs),
    lastStepTime: dateOrNone(progress.lastStepMs),
  };
}

function progressFromWire(progress: NonNullable<WireStatus["progress"]>): ProgressView {
  return {
    step: count(progress.step),
    totalSteps: count(progress.totalSteps),
    loss: progress.loss,
    gradNorm: progress.gradNorm,
    learningRate: progress.learningRate,
    tokensPerSecond: progress.tokensPerSecond,
    trainedTokens: count(progress.trainedTokensCount),
    processedTokens: count(progress.processedTokensCount),
    stepSeconds: progress.stepSeconds,
    etaMs: progress.etaTime?.getTime() ?? null,
    lastStepMs: progress.lastStepTime?.getTime() ?? null,
  };
}

function recoveriesToWire(recoveries: RecoveriesView): NonNullable<WireStatus["recoveries"]> {
  return {
    count: recoveries.count,
    redoneStepsCount: BigInt(recoveries.stepsRedone),
    lastCause: recoveries.last?.cause ?? "",
    lastSeconds: recoveries.last?.seconds ?? 0,
  };
}

function recoveriesFromWire(recoveries: WireStatus["recoveries"]): RecoveriesView {
  const cause = recoveries?.lastCause ?? "";
  return {
    count: recoveries?.count ?? 0,
    stepsRedone: count(recoveries?.redoneStepsCount ?? 0n),
    last: cause === "" ? null : { cause, seconds: recoveries?.lastSeconds ?? 0 },
  };
}
