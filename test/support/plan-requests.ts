// Requests to the planner: the smallest job, and two machines to plan it for.
import { DEFAULTS, type JobSpec } from "@shardwright/job";
import {
  type DeviceFacts,
  type ParallelPlan,
  type PlanOutcome,
  type PlanRequest,
  REFERENCE_CARDS,
} from "@shardwright/planner";

type Changes = {
  readonly [Part in "tuning" | "train" | "data" | "checkpoint"]?: Partial<JobSpec[Part]>;
} & {
  readonly members?: Partial<JobSpec["resources"]["members"]>;
  readonly threads?: number;
  readonly precision?: JobSpec["precision"];
  readonly exactness?: JobSpec["exactness"];
};

/** The smallest job with a part of it changed. */
export function aSpec(changes: Changes = {}): JobSpec {
  const { tuning, train, data, checkpoint, members, threads, ...rest } = changes;
  const source = { source: "file:///data.jsonl", rowsMax: null };
  return {
    ...DEFAULTS,
    model: { source: "file:///model", ...DEFAULTS.model },
    data: { ...DEFAULTS.data, train: source, validation: null, test: null, ...data },
    tuning: { ...DEFAULTS.tuning, ...tuning },
    train: { ...DEFAULTS.train, learningRate: 2e-4, ...train },
    resources: {
      gpuType: null,
      members: { ...DEFAULTS.resources.members, ...members },
      threadsPerRank: threads ?? 1,
    },
    checkpoint: { ...DEFAULTS.checkpoint, ...checkpoint },
    export: [],
    preset: null,
    ...rest,
  };
}

/** Two cores. */
export const LAPTOP: DeviceFacts = {
  kind: "cpu",
  bytesPerRank: 6 * 2 ** 30,
  ranksMax: 8,
  coresCount: 2,
};
/** Two machines of eight. */
export const H200: DeviceFacts = {
  kind: "H200",
  bytesPerRank: 149_250_113_536,
  ranksMax: 16,
  coresCount: 64,
};

/** To plan this job on a laptop, unless said otherwise. */
export function request(spec: JobSpec, changes: Partial<PlanRequest> = {}): PlanRequest {
  const { smollm2: card } = REFERENCE_CARDS;
  return { spec, card, devices: LAPTOP, data: null, calibration: null, recipe: null, ...changes };
}

/** The plan of an outcome that fits. */
export function planned(outcome: PlanOutcome): ParallelPlan {
  if (!outcome.fits) throw new Error(outcome.reason.sentence);
  return outcome.plan;
}

/** Why an outcome does not fit. */
export function refused(outcome: PlanOutcome): { code: string; sentence: string } {
  if (outcome.fits) throw new Error("it fits");
  return outcome.reason;
}
