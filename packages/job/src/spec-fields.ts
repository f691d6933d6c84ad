/** The fields of a spec, section by section: type, bounds, default, and what this release refuses by name. */
import { DEFAULTS, defaultExports, defaultLearningRate } from "./defaults.ts";
import {
  asObject,
  complain,
  flag,
  integer,
  listOf,
  object,
  oneOf,
  optional,
  type Place,
  type Reader,
  real,
  required,
  shown,
  text,
} from "./fields.ts";
import { problemOfName } from "./ids.ts";
import {
  BATCH_SIZE_MAX,
  DEADLINE_SECONDS_MAX,
  EPOCHS_MAX,
  EXPORTS_MAX,
  FAULT_BUDGET_MAX,
  KEEP_LAST_MAX,
  LANES_MAX,
  LEARNING_RATE_MAX,
  LORA_R_MAX,
  MEMBERS_MAX,
  PRIORITY_MAX,
  RANKS_PER_MEMBER_MAX,
  ROW_TOKENS_MAX,
  SEED_MAX,
  STEPS_MAX,
  THREADS_PER_RANK_MAX,
} from "./limits.ts";
import { source } from "./sources.ts";
import type {
  CheckpointSpec,
  DataSource,
  DataSpec,
  ExportSpec,
  FaultBudget,
  Method,
  ModelRef,
  ResourcesSpec,
  TrainSpec,
  TuningSpec,
} from "./spec.ts";

/** Words and names inside a spec: columns, template names, module names. */
const WORD_CHARACTERS_MAX = 256;
const NOT_BUILT = "remove it";

export const model: Reader<ModelRef> = object<ModelRef>({
  source: required(source({ fineTuned: true }), '"file:///models/SmolLM2-135M-Instruct"'),
  revision: optional(text(WORD_CHARACTERS_MAX), DEFAULTS.model.revision),
  acceptLicence: optional(flag, DEFAULTS.model.acceptLicence),
});

const dataSource: Reader<DataSource> = object<DataSource>({
  source: required(source({ fineTuned: false }), '"file:///data/train.jsonl"'),
  rowsMax: optional(integer({ min: 1, max: STEPS_MAX, of: "rows" }), DEFAULTS.rowsMax),
});

/** Fields of a canonical row that a column may stand for. */
const MAP_ROLES = [
  "instruction",
  "input",
  "output",
  "system",
  "history",
  "prompt",
  "completion",
  "text",
  "messages",
  "tools",
  "conversations",
] as const;

const columnMap: Reader<Readonly<Record<string, string>>> = (value, at) => {
  const column = optional(text(WORD_CHARACTERS_MAX), "");
  const readers = Object.fromEntries(MAP_ROLES.map((role) => [role, column]));
  const read = object<Record<string, string>>(readers)(value, at);
  const columns = Object.entries(read).filter(([, name]) => name !== "");
  const twice = columns.find(([, name], index) =>
    columns.slice(0, index).some(([, earlier]) => earlier === name),
  );
  if (twice) complain(at, `column "${twice[1]}" is given two roles; each column has one`);
  return Object.fromEntries(columns);
};

const FORMAT_LATER = {
  preference: "preference data can be checked but not trained; use chat or completions",
  classification:
    "labelled rows can be checked but not trained; use completions with the label as text",
  embedding: "pairs can be checked but not trained; use chat or completions",
  parquet: "write the rows as JSON lines",
  xlsx: "save the sheet as CSV",
};

/** Packs are always isolated: no token sees another document. */
const packing: Reader<{ readonly length: number }> = (value, at) => {
  const { length } = object<{ length: number; boundaries: "isolate" }>({
    length: required(integer({ min: 8, max: ROW_TOKENS_MAX, of: "tokens" }), "2048"),
    boundaries: optional(
      oneOf(["isolate"], { cross: "documents in a pack are always isolated" }),
      "isolate",
    ),
  })(value, at);
  return { length };
};

export const data: Reader<DataSpec> = object<DataSpec>(
  {
    train: dataSource,
    validation: optional(dataSource, null),
    test: optional(dataSource, null),
    format: optional(
      oneOf(
        ["auto", "chat", "completions", "alpaca", "sharegpt", "mlx", "text", "tabular"],
        FORMAT_LATER,
      ),
      DEFAULTS.data.format,
    ),
    map: optional(columnMap, DEFAULTS.data.map),
    template: optional(
      oneOf(["base", "alpaca", "alpaca-ja", "dolly", "raw", "chatml"]),
      DEFAULTS.data.template,
    ),
    mask: optional(
      oneOf(["auto", "assistant", "last-assistant", "completion", "all"]),
      DEFAULTS.data.mask,
    ),
    packing: optional(packing, DEFAULTS.data.packing),
    truncation: object<DataSpec["truncation"]>({
      policy: optional(oneOf(["truncate", "drop", "error"]), DEFAULTS.data.truncation.policy),
      maxTokens: optional(
        integer({ min: 1, max: ROW_TOKENS_MAX, of: "tokens" }),
        DEFAULTS.data.truncation.maxTokens,
      ),
    }),
    allowSmall: optional(flag, DEFAULTS.data.allowSmall),
  },
  {
    later: {
      mix: "put the rows of all sources into one file",
      padding: "rows are padded only as far as a step needs; remove it",
      render: "pairs are rendered as they are; write chat rows for turns",
      textUnit: "a text file is one document; write JSON lines with a text field for more",
      validFraction: "split the file yourself and give data.validation",
      blockSensitive: "run the data check and remove the rows it names",
    },
  },
);

const moduleName: Reader<string> = (value, at) => {
  const name = text(WORD_CHARACTERS_MAX)(value, at);
  if (name !== "" && !/^[A-Za-z0-9_.]+$/.test(name)) {
    complain(at, `must be the name of a module such as "q_proj", got ${shown(value)}`);
  }
  return name;
};

const targets: Reader<TuningSpec["targets"]> = (value, at) => {
  if (!Array.isArray(value)) return oneOf(["all-linear"])(value, at);
  const names = listOf(moduleName)(value, at);
  if (names.length === 0) complain(at, 'is empty; name modules or write "all-linear"');
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) complain(at, `names "${twice}" twice`);
  return names;
};

export const tuning: Reader<TuningSpec> = object<TuningSpec>(
  {
    method: optional(
      oneOf(["lora", "full"], {
        qlora: "use lora, which keeps the base in the compute precision",
        dora: "use lora",
      }),
      DEFAULTS.tuning.method,
    ),
    r: optional(integer({ min: 1, max: LORA_R_MAX }), DEFAULTS.tuning.r),
    alpha: optional(real({ min: 0, above: true, max: 65_536 }), DEFAULTS.tuning.alpha),
    dropout: optional(real({ min: 0, max: 0.99 }), DEFAULTS.tuning.dropout),
    targets: optional(targets, DEFAULTS.tuning.targets),
    rslora: optional(flag, DEFAULTS.tuning.rslora),
  },
  {
    later: {
      scale: "give alpha = scale × r",
      dora: NOT_BUILT,
      init: "training starts from a fresh adapter; remove it",
    },
  },
);

/** What the user wrote of `train`, before defaults that depend on the method. */
type WrittenTrain = Omit<TrainSpec, "learningRate"> & { readonly learningRate: number | null };

const betas: Reader<readonly [number, number]> = (value, at) => {
  if (!Array.isArray(value) || value.length !== 2) {
    complain(at, `must be a list of two numbers such as [0.9, 0.999], got ${shown(value)}`);
    return DEFAULTS.train.betas;
  }
  const beta = real({ min: 0, max: 0.999999 });
  const [first, second] = listOf(beta)(value, at);
  return [first ?? 0, second ?? 0];
};

const ratio = real({ min: 0, max: 1 });

const writtenTrain: Reader<WrittenTrain> = object<WrittenTrain>(
  {
    epochs: optional(real({ min: 0, above: true, max: EPOCHS_MAX }), DEFAULTS.train.epochs),
    maxSteps: optional(integer({ min: 1, max: STEPS_MAX, of: "steps" }), DEFAULTS.train.maxSteps),
    batchSize: optional(
      integer({ min: 1, max: BATCH_SIZE_MAX, of: "rows" }),
      DEFAULTS.train.batchSize,
    ),
    learningRate: optional(real({ min: 0, above: true, max: LEARNING_RATE_MAX }), null),
    schedule: optional(
      oneOf(["constant", "constant_with_warmup", "linear", "cosine"]),
      DEFAULTS.train.schedule,
    ),
    warmupSteps: optional(integer({ min: 0, max: STEPS_MAX }), DEFAULTS.train.warmupSteps),
    warmupRatio: optional(ratio, DEFAULTS.train.warmupRatio),
    finalRateRatio: optional(ratio, DEFAULTS.train.finalRateRatio),
    weightDecay: optional(real({ min: 0, max: 10 }), DEFAULTS.train.weightDecay),
    maxGradNorm: optional(real({ min: 0, max: 1e6 }), DEFAULTS.train.maxGradNorm),
    optimizer: optional(
      oneOf(["adamw"], {
        sgd: "use adamw",
        adafactor: "use adamw",
        adam: "use adamw with weightDecay: 0",
        adamw_8bit: "use adamw",
        paged_adamw_32bit: "use adamw",
        lion: "use adamw",
        muon: "use adamw",
      }),
      DEFAULTS.train.optimizer,
    ),
    betas: optional(betas, DEFAULTS.train.betas),
    epsilon: optional(real({ min: 0, above: true, max: 1 }), DEFAULTS.train.epsilon),
    maxLength: optional(
      integer({ min: 1, max: ROW_TOKENS_MAX, of: "tokens" }),
      DEFAULTS.train.maxLength,
    ),
    seed: optional(integer({ min: 0, max: SEED_MAX }), DEFAULTS.train.seed),
    lanes: optional(integer({ min: 1, max: LANES_MAX }), DEFAULTS.train.lanes),
    microBatch: optional(
      integer({ min: 1, max: BATCH_SIZE_MAX, of: "rows" }),
      DEFAULTS.train.microBatch,
    ),
    gradientCheckpointing: optional(
      oneOf(["auto", "none", "full"], { selective: "use auto or full" }),
      DEFAULTS.train.gradientCheckpointing,
    ),
  },
  { later: { compile: NOT_BUILT, beta: "it belongs to preference training; remove it" } },
);

/** `written` is the plain section: it tells a user's 0.03 from the default. */
export function train(value: unknown, at: Place, method: Method): TrainSpec {
  const read = writtenTrain(value, at);
  const written = asObject(value, { path: at.path, report: { complaints: [], warnings: [] } });
  const ratioWritten = typeof written?.["warmupRatio"] === "number" && written["warmupRatio"] !== 0;
  if (read.warmupSteps !== null && ratioWritten) {
    complain(
      { path: `${at.path}.warmupSteps`, report: at.report },
      "warmupSteps and warmupRatio are two ways to say one thing; give one of them",
    );
  }
  return {
    ...read,
    learningRate: read.learningRate ?? defaultLearningRate(method),
    warmupRatio: read.warmupSteps === null ? read.warmupRatio : 0,
  };
}

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

export function exports(value: unknown, at: Place, method: Method): ExportSpec[] {
  if (value === null || value === undefined) return defaultExports(method);
  return listOf(exportSpec, EXPORTS_MAX)(value, at);
}

const budget = integer({ min: 0, max: FAULT_BUDGET_MAX, of: "tries" });
const BUDGET = DEFAULTS.faultBudget;

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
export const exactness = optional(
  oneOf(["exact"], { fast: "exact is the only mode; remove it" }),
  DEFAULTS.exactness,
);
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
