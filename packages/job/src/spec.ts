/**
 * JobSpec: the parsed, expanded job. Nothing here is optional that a default can fill; what the planner
 * chooses is `null` until it has chosen. Field names are those of the document a user writes.
 */
export type Method = "lora" | "full" | "qlora";
export type Precision = "auto" | "fp32" | "bf16" | "fp16";
export type Exactness = "exact" | "fast";
export type Schedule = "constant" | "constant_with_warmup" | "linear" | "cosine";
export type DataFormat =
  | "auto"
  | "chat"
  | "completions"
  | "alpaca"
  | "sharegpt"
  | "mlx"
  | "text"
  | "tabular"
  | "preference"
  | "classification"
  | "embedding";
export type MaskPolicy = "auto" | "assistant" | "last-assistant" | "completion" | "all";

export interface ModelRef {
  /** `file://` (a Hugging Face directory or one .gguf file) or `ft:NAME`. */
  readonly source: string;
  readonly revision: string | null;
  readonly acceptLicence: boolean;
}

export interface DataSource {
  readonly source: string;
  readonly rowsMax: number | null;
}

export interface DataSpec {
  readonly train: DataSource;
  readonly validation: DataSource | null;
  readonly test: DataSource | null;
  readonly format: DataFormat;
  /** Role → column, for tabular data: `{input: "Japanese_text", output: "Yomigana"}`. */
  readonly map: Readonly<Record<string, string>>;
  /** `base` (the model's own chat template) or a shipped one. */
  readonly template: string;
  readonly mask: MaskPolicy;
  /** Pack documents into rows of this many tokens; null = one document per row, padded. */
  readonly packing: { readonly length: number } | null;
  readonly truncation: {
    readonly policy: "truncate" | "drop" | "error";
    readonly maxTokens: number | null;
  };
  /** Fewer than 10 examples is a warning instead of an error. */
  readonly allowSmall: boolean;
}

export interface TuningSpec {
  readonly method: Method;
  readonly r: number;
  readonly alpha: number;
  readonly dropout: number;
  readonly targets: "all-linear" | readonly string[];
  readonly rslora: boolean;
}

export interface TrainSpec {
  readonly epochs: number;
  /** Wins over epochs when set. */
  readonly maxSteps: number | null;
  /** Rows or packs in one optimizer step, whatever the world size. */
  readonly batchSize: number;
  readonly learningRate: number;
  readonly schedule: Schedule;
  readonly warmupSteps: number | null;
  readonly warmupRatio: number;
  /** The schedule ends at this share of the peak rate. */
  readonly finalRateRatio: number;
  readonly weightDecay: number;
  readonly maxGradNorm: number;
  readonly optimizer: "adamw";
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly maxLength: number | null;
  readonly seed: number;
  readonly lanes: number | null;
  readonly microBatch: number | null;
  readonly gradientCheckpointing: "auto" | "none" | "full";
  /** What is shared out over the ranks: 0 nothing, 1 optimizer state, 2 gradients too; null = planned. Same bits. */
  readonly zeroStage: 0 | 1 | 2 | null;
}

export interface ResourcesSpec {
  readonly gpuType: string | null;
  readonly members: {
    readonly replicas: number | null;
    readonly min: number | null;
    readonly max: number | null;
    /** Ranks of one member: GPUs, or CPU processes in embedded mode. */
    readonly gpus: number;
  };
  readonly threadsPerRank: number;
}

export interface CheckpointSpec {
  readonly every: "auto" | { readonly steps: number } | { readonly seconds: number };
  readonly keepLast: number;
  /** file:// root; null = the data directory's. */
  readonly store: string | null;
}

export interface ExportSpec {
  readonly format: "peft" | "hf";
  readonly merge: boolean;
  readonly destination: string | null;
}

export interface FaultBudget {
  readonly error: number;
  readonly oom: number;
  readonly communication: number;
  readonly hang: number;
  readonly node: number;
  readonly storage: number;
}

export interface JobSpec {
  readonly model: ModelRef;
  readonly data: DataSpec;
  readonly task: "causal";
  readonly tuning: TuningSpec;
  readonly train: TrainSpec;
  readonly precision: Precision;
  readonly exactness: Exactness;
  readonly resources: ResourcesSpec;
  readonly queue: string;
  readonly priority: number;
  readonly suspend: boolean;
  readonly activeDeadlineSeconds: number | null;
  readonly faultBudget: FaultBudget;
  readonly checkpoint: CheckpointSpec;
  readonly export: readonly ExportSpec[];
  readonly preset: string | null;
}

/** A whole document: apiVersion shardwright.dev/v1alpha1, kind FineTuneJob. */
export interface JobDocument {
  readonly metadata: {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: JobSpec;
}
