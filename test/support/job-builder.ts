// Jobs for tests: a whole document with every default, a queued job, a running one.
import {
  type JobDocument,
  type JobSpec,
  type JobView,
  makeJobUid,
  NO_TALLIES,
  queuedStatus,
} from "@shardwright/job";
import type { ParallelPlan } from "@shardwright/planner";
import type { JobFacts } from "../../packages/control-plane/src/core/state.ts";

export function aSpec(more: Partial<JobSpec> = {}): JobSpec {
  return {
    model: { source: "file:///models/tiny-llama/", revision: null, acceptLicence: true },
    data: {
      train: { source: "file:///data/train.jsonl", rowsMax: null },
      validation: null,
      test: null,
      format: "auto",
      map: {},
      template: "base",
      mask: "auto",
      packing: null,
      truncation: { policy: "error", maxTokens: null },
      allowSmall: false,
    },
    task: "causal",
    tuning: { method: "lora", r: 8, alpha: 16, dropout: 0, targets: "all-linear", rslora: false },
    train: {
      epochs: 1,
      maxSteps: null,
      batchSize: 8,
      learningRate: 1e-4,
      schedule: "linear",
      warmupSteps: null,
      warmupRatio: 0,
      finalRateRatio: 0,
      weightDecay: 0,
      maxGradNorm: 1,
      optimizer: "adamw",
      betas: [0.9, 0.999],
      epsilon: 1e-8,
      maxLength: null,
      seed: 7,
      lanes: null,
      microBatch: null,
      gradientCheckpointing: "auto",
      zeroStage: null,
    },
    precision: "fp32",
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
    faultBudget: { error: 3, oom: 3, communication: 3, hang: 3, node: 3, storage: 3 },
    checkpoint: { every: "auto", keepLast: 2, store: null },
    export: [],
    preset: null,
    ...more,
  };
}

export function aDocument(name = "a", spec: Partial<JobSpec> = {}): JobDocument {
  return { metadata: { name, labels: {}, annotations: {} }, spec: aSpec(spec) };
}

export function aPlan(): ParallelPlan {
  return {
    zeroStage: 1,
    ranks: 2,
    members: 2,
    ranksPerMember: 1,
    blockElements: 65_536,
    trainableElements: 200_000,
    copies: 1,
    recipe: {
      computeDtype: "fp32",
      wireDtype: "fp32",
      lanes: 8,
      microBatchesPerLane: 1,
      microBatchRows: 1,
      rowTokens: 0,
      crossEntropyRows: 1024,
      attention: "sdpa",
      threadsPerRank: 1,
      optimizerImplementation: "foreach",
      gradientCheckpointing: "none",
      deviceType: "cpu",
      computedTokens: "all",
    },
    memory: {
      weights: 1,
      gradients: 2,
      optimizer: 3,
      replicas: 0,
      activations: 5,
      logits: 6,
      transients: 7,
      context: 8,
      slack: 9,
    },
    peakBytesPredicted: 41,
    deviceBytes: 1_000,
    stepSecondsPredicted: 0.5,
    totalStepsPredicted: 0,
    hoursPredicted: 0.1,
    rejected: [],
    explanation: ["one rank per core"],
    warnings: [],
    saveEverySteps: 10,
    snapshotEverySteps: 0,
    fits: true,
  };
}

/** A job that was submitted at second 1 and waits. */
export function aJob(more: Partial<Pick<JobView, "name" | "uid" | "tenant">> = {}): JobView {
  const name = more.name ?? "a";
  return {
    tenant: "default",
    uid: makeJobUid(1_000, new Uint8Array(10)),
    revision: 1,
    createdMs: 1_000,
    finishedMs: null,
    document: aDocument(name),
    status: queuedStatus({ code: "Submitted", sentence: "waits for the scheduler" }, aPlan()),
    ...more,
    name,
  };
}

/** A job in its second generation, with a checkpoint and every number that a running job can have. */
export function aRunningJob(): JobView {
  const job = aJob();
  const reason = { code: "Training", sentence: "step 7 of 100" };
  return {
    ...job,
    revision: 9,
    status: {
      ...job.status,
      state: "Running",
      reason,
      conditions: [{ type: "Admitted", status: "True", reason, lastTransitionMs: 3_000 }],
      membership: { generation: 2, running: 2, wanted: 2, ranks: 2 },
      progress: {
        step: 7,
        totalSteps: 100,
        loss: 1.5,
        gradNorm: 0.9,
        learningRate: 1e-4,
        tokensPerSecond: 1_000,
        trainedTokens: 5_000,
        processedTokens: 7_000,
        stepSeconds: 0.4,
        etaMs: 90_000,
        lastStepMs: 50_000,
      },
      recoveries: { count: 1, stepsRedone: 0, last: { cause: "killed", seconds: 0.5 } },
      checkpoint: { step: 5, commit: "c5", committedMs: 40_000 },
      tallies: { ...NO_TALLIES, saves: 1, lastSave: { bytes: 4_096, seconds: 0.2 } },
      measure: {
        steps: 7,
        seconds: 2.8,
        sections: {
          data: 0.1,
          forward_backward: 2,
          reduce: 0.4,
          optimizer: 0.1,
          gather: 0.1,
          other: 0.1,
        },
        stallSeconds: 0.01,
        peakBytes: 40,
      },
    },
  };
}

/** What loading finds out, as the core keeps it: the least that decisions need. */
export function someFacts({
  elements,
  totalSteps,
}: Pick<JobFacts, "totalSteps"> & { readonly elements: number }): JobFacts {
  return {
    layout: { tensors: [], elements, fingerprint: "f" },
    dataDigest: "d",
    recipeSha256: "r",
    totalSteps,
    stepsPerEpoch: totalSteps,
    rows: totalSteps,
    trainedTokens: 1,
    externalJson: "",
    loraJson: "",
    templateJson: "",
  };
}
