/** The fields of a spec, section by section: type, bounds, default, and what this release refuses by name. */
import { DEFAULTS, defaultExports } from "./defaults.ts";
import {
  complain,
  flag,
  integer,
  listOf,
  object,
  oneOf,
  optional,
  type Place,
  type Reader,
  required,
  shown,
  text,
} from "./fields.ts";
import { problemOfName } from "./ids.ts";
import {
  DEADLINE_SECONDS_MAX,
  EXPORTS_MAX,
  FAULT_BUDGET_MAX,
  KEEP_LAST_MAX,
  MEMBERS_MAX,
  PRIORITY_MAX,
  RANKS_PER_MEMBER_MAX,
  STEPS_MAX,
  THREADS_PER_RANK_MAX,
} from "./limits.ts";
import { source } from "./sources.ts";
import type { CheckpointSpec, ExportSpec, FaultBudget, Method, ResourcesSpec } from "./spec.ts";

export { data, model } from "./data-fields.ts";
export { train, tuning } from "./train-fields.ts";

type Members = ResourcesSpec["members"];
const memberCount = integer({ min: 1, max: MEMBERS_MAX, of: "members" });
const rankCount = integer({ min: 1, max: RANKS_PER_MEMBER_MAX, of: "ranks" });

/** `ranks` is what embedded mode calls `gpus`: processes of one member. */
const members: Reader<Members> = (value, at) => {
  const read = object<Omit<Members, "gpus"> & { gpus: number | null; ranks: number | null }>({
    replicas: optional(memberCount, DEFAULTS.resources.members.replicas),
    min: optional(memberCount, DEFAULTS.resources.members.min),
    max: optional(memberCount, DEFAULTS.resources.members.max),
    gpus: optional(rankCount, null),
    ranks: optional(rankCount, null),
  })(value, at);
  const { ranks, gpus, ...counts } = read;
  if (ranks !== null && gpus !== null && ranks !== gpus) {
    complain(
      { path: `${at.path}.ranks`, report: at.report },
      `ranks and gpus mean the same here, but ranks is ${ranks} and gpus is ${gpus}; give one of them`,
    );
  }
  return { ...counts, gpus: gpus ?? ranks ?? DEFAULTS.resources.members.gpus };
};

/** `spec.resources`. */
export const resources: Reader<ResourcesSpec> = object<ResourcesSpec>({
  gpuType: optional(text(64), DEFAULTS.resources.gpuType),
  members,
  threadsPerRank: optional(
    integer({ min: 1, max: THREADS_PER_RANK_MAX, of: "threads" }),
    DEFAULTS.resources.threadsPerRank,
  ),
});

const every: Reader<CheckpointSpec["every"]> = (value, at) => {
  if (value === "auto") return "auto";
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    complain(at, `must be "auto", {steps: 100} or {seconds: 600}, got ${shown(value)}`);
    return "auto";
  }
  const count = optional(integer({ min: 1, max: STEPS_MAX }), null);
  const { steps, seconds } = object<{ steps: number | null; seconds: number | null }>({
    steps: count,
    seconds: count,
  })(value, at);
  if ((steps === null) === (seconds === null)) {
    complain(at, "must hold exactly one of steps and seconds");
  }
  return seconds === null ? { steps: steps ?? 1 } : { seconds };
};

const folder = source({ fineTuned: false });

/** `spec.checkpoint`. */
export const checkpoint: Reader<CheckpointSpec> = object<CheckpointSpec>(
  {
    every: optional(every, DEFAULTS.checkpoint.every),
    keepLast: optional(integer({ min: 1, max: KEEP_LAST_MAX }), DEFAULTS.checkpoint.keepLast),
    store: optional(folder, DEFAULTS.checkpoint.store),
  },
  {
    later: {
      keepEvery: "raise keepLast instead",
      keepBest: "raise keepLast instead",
    },
  },
);

const exportSpec: Reader<ExportSpec> = object<ExportSpec>({
  format: required(
    oneOf(["peft", "hf"], {
      mlx: "export peft or hf",
      gguf: "export hf with merge: true and convert it with llama.cpp",
    }),
    '"peft"',
  ),
  merge: optional(flag, false),
  destination: optional(folder, null),
});

/** `spec.export`; absent = what the method leaves behind. */
export function exports(value: unknown, at: Place, method: Method): ExportSpec[] {
  if (value === null || value === undefined) return defaultExports(method);
  return listOf(exportSpec, EXPORTS_MAX)(value, at);
}

const budget = integer({ min: 0, max: FAULT_BUDGET_MAX, of: "tries" });
const BUDGET = DEFAULTS.faultBudget;

/** `spec.faultBudget`. */
export const faultBudget: Reader<FaultBudget> = object<FaultBudget>({
  error: optional(budget, BUDGET.error),
  oom: optional(budget, BUDGET.oom),
  communication: optional(budget, BUDGET.communication),
  hang: optional(budget, BUDGET.hang),
  node: optional(budget, BUDGET.node),
  storage: optional(budget, BUDGET.storage),
});

/** A label that names a job or a queue. */
export const name: Reader<string> = (value, at) => {
  if (typeof value !== "string") {
    complain(at, `must be text, got ${shown(value)}`);
    return "";
  }
  const problem = problemOfName(value);
  if (problem !== null) complain(at, `${problem}; got ${shown(value)}`);
  return value;
};

export const task = optional(
  oneOf(["causal"], {
    preference: "use causal with chat rows of the preferred answers",
    classification: "use causal with the label as the completion",
    embedding: "use causal",
  }),
  DEFAULTS.task,
);
export const precision = optional(
  oneOf(["auto", "fp32", "bf16"], {
    fp16: "use bf16, or fp32 where the device has no bf16",
    fp8: "use bf16",
  }),
  DEFAULTS.precision,
);
export const exactness = optional(oneOf(["exact", "fast"]), DEFAULTS.exactness);
export const queue = optional(name, DEFAULTS.queue);
export const priority = optional(
  integer({ min: -PRIORITY_MAX, max: PRIORITY_MAX }),
  DEFAULTS.priority,
);
export const suspend = optional(flag, DEFAULTS.suspend);
export const activeDeadlineSeconds = optional(
  integer({ min: 1, max: DEADLINE_SECONDS_MAX, of: "seconds" }),
  DEFAULTS.activeDeadlineSeconds,
);
