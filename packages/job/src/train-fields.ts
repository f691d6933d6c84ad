/** The fields `tuning` and `train` of a spec: type, bounds, default, and what this release refuses by name. */
import { DEFAULTS, defaultLearningRate } from "./defaults.ts";
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
  shown,
  text,
} from "./fields.ts";
import {
  BATCH_SIZE_MAX,
  EPOCHS_MAX,
  LANES_MAX,
  LEARNING_RATE_MAX,
  LORA_R_MAX,
  ROW_TOKENS_MAX,
  SEED_MAX,
  STEPS_MAX,
} from "./limits.ts";
import type { Method, TrainSpec, TuningSpec } from "./spec.ts";

/** Names of columns, templates and modules. */
const WORD_CHARACTERS_MAX = 256;
const NOT_BUILT = "remove it";

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

/** `spec.tuning`. */
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
    zeroStage: optional(
      (value, at) => integer({ min: 0, max: 2 })(value, at) as 0 | 1 | 2,
      DEFAULTS.train.zeroStage,
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
