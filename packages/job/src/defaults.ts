/** Every default of a job, here and nowhere else. What is null is planned, or not wanted. */
import type { ExportSpec, FaultBudget, JobSpec, Method } from "./spec.ts";

/** Rates that train: LoRA takes about ten times the rate of full tuning. */
const LEARNING_RATES: Readonly<Record<Method, number>> = { lora: 2e-4, qlora: 2e-4, full: 1e-5 };

/** The peak rate when none is given. */
export function defaultLearningRate(method: Method): number {
  return LEARNING_RATES[method];
}

/** What a finished job leaves behind when nothing is asked for: the adapter, or the tuned weights. */
export function defaultExports(method: Method): ExportSpec[] {
  return [{ format: method === "full" ? "hf" : "peft", merge: false, destination: null }];
}

/** Tries per cause before a job fails; progress refunds them. What comes from outside may happen more often. */
const FAULT_BUDGET: FaultBudget = {
  error: 3,
  oom: 3,
  communication: 10,
  hang: 3,
  node: 10,
  storage: 10,
};

type Fixed<T> = Omit<T, "learningRate" | "source" | "train" | "validation" | "test">;

/** By section and field, as in the spec. */
export const DEFAULTS = {
  model: { revision: null, acceptLicence: false },
  rowsMax: null,
  data: {
    format: "auto",
    map: {},
    template: "base",
    mask: "auto",
    packing: null,
    truncation: { policy: "truncate", maxTokens: null },
    allowSmall: false,
  },
  task: "causal",
  tuning: { method: "lora", r: 16, alpha: 32, dropout: 0, targets: "all-linear", rslora: false },
  train: {
    epochs: 3,
    maxSteps: null,
    batchSize: 8,
    schedule: "linear",
    warmupSteps: null,
    warmupRatio: 0.03,
    finalRateRatio: 0,
    weightDecay: 0.01,
    maxGradNorm: 1,
    optimizer: "adamw",
    betas: [0.9, 0.999],
    epsilon: 1e-8,
    maxLength: null,
    seed: 0,
    lanes: null,
    microBatch: null,
    gradientCheckpointing: "auto",
    zeroStage: null,
  },
  precision: "auto",
  exactness: "exact",
  resources: {
    gpuType: null,
    members: { replicas: null, min: null, max: null, gpus: 1 },
    threadsPerRank: 1,
  },
  queue: "default",
  priority: 0,
  suspend: false,
  activeDeadlineSeconds: null,
  faultBudget: FAULT_BUDGET,
  checkpoint: { every: "auto", keepLast: 3, store: null },
} as const satisfies { rowsMax: null } & {
  model: Fixed<JobSpec["model"]>;
  data: Fixed<JobSpec["data"]>;
  train: Fixed<JobSpec["train"]>;
} & Partial<Omit<JobSpec, "model" | "data" | "train">>;
