/**
 * The JSON objects of checkpoint format SWC/1 as domain types: field names are the stored ones (snake case),
 * because stored bytes are the canonical JSON of exactly these objects. Nothing here reads or writes them.
 */

/** Version of the format; a reader refuses another one. */
export const SWC_VERSION = 1;

/** `sha256:` and 64 hexadecimal digits. */
export type Digest = `sha256:${string}`;

const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** True for `sha256:` and 64 lower-case hexadecimal digits. */
export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

/** Names one try to save a step: `00000000000000001200-0000000007-000`. Sorted as text = sorted by step. */
export interface CommitKey {
  readonly step: number;
  readonly generation: number;
  readonly try: number;
}

const COMMIT_KEY = /^(\d{20})-(\d{10})-(\d{3})$/;

/** The key as it stands in paths; step and generation must be safe non-negative integers. */
export function commitKeyText(key: CommitKey): string {
  return [
    String(key.step).padStart(20, "0"),
    String(key.generation).padStart(10, "0"),
    String(key.try).padStart(3, "0"),
  ].join("-");
}

/** null when the text is no commit key, or its step is beyond 2^53. */
export function readCommitKey(text: string): CommitKey | null {
  const match = COMMIT_KEY.exec(text);
  if (!match) return null;
  const [step, generation, attempt] = match.slice(1).map(Number);
  if (step === undefined || generation === undefined || attempt === undefined) return null;
  return Number.isSafeInteger(step) ? { step, generation, try: attempt } : null;
}

/** Why a save was made. */
export const SAVE_TRIGGERS = [
  "periodic",
  "final",
  "epoch",
  "pause",
  "preempt",
  "manual",
  "import",
] as const;
export type SaveTrigger = (typeof SAVE_TRIGGERS)[number];

/** `run.json`: written once, when the first save of a run begins. */
export interface RunRecord {
  readonly swc: typeof SWC_VERSION;
  readonly run: string;
  readonly job: string;
  /** RFC 3339 UTC. */
  readonly created: string;
  readonly requires: readonly string[];
  readonly register: "store";
  readonly store_probe: Digest;
  readonly base: readonly string[];
  readonly self: Digest;
}

/** `save.json`: a save has begun; whoever finds it undecided after the deadline may abort it. */
export interface StartMarker {
  readonly swc: typeof SWC_VERSION;
  readonly save_id: string;
  readonly run: string;
  readonly step: number;
  readonly generation: number;
  readonly try: number;
  readonly parents: readonly string[];
  readonly deadline: string;
  readonly self: Digest;
}

/** What is stored per element: master, exp_avg, exp_avg_sq. */
export interface KindSchema {
  readonly dtype: string;
  readonly numel: "same";
  /** A kind that is a pure function of another is not stored. */
  readonly derived?: { readonly from: string; readonly op: "cast-rne" };
}

/** A stretch of the flat space with one block size and one optimizer. */
export interface SchemaSection {
  readonly id: number;
  readonly numel: number;
  readonly first_block: number;
  readonly blocks: number;
  /** Legal cut points are multiples of it, from the start of the section. */
  readonly quantum: number;
  readonly optimizer: string;
  readonly kinds: Readonly<Record<string, KindSchema>>;
}

/** A trainable tensor and where it lies in its section. */
export interface SchemaTensor {
  readonly fqn: string;
  readonly shape: readonly number[];
  readonly section: number;
  /** First element inside the section. */
  readonly start: number;
  /** Optimizer group. */
  readonly group: number;
  readonly aliases: readonly string[];
}

/** A stored tensor that is not trained, such as a buffer. */
export interface AuxTensor {
  readonly fqn: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly kind: string;
}

/** A tensor that is not stored: it comes from the external weights. */
export interface FrozenTensor {
  readonly fqn: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly external: string;
}

/** `schema/<sha256>.json`: the tensor table, shared by all commits of a run while the trainable set is the same. */
export interface CheckpointSchema {
  readonly swc: typeof SWC_VERSION;
  readonly order: "swc-order-1";
  readonly block_elems: number;
  readonly requires: readonly string[];
  readonly sections: readonly SchemaSection[];
  readonly tensors: readonly SchemaTensor[];
  readonly aux: readonly AuxTensor[];
  readonly frozen: readonly FrozenTensor[];
}

/** One pack of a writer. With `from`, the file lies in the directory of an older save. */
export interface ManifestFile {
  readonly from?: string;
  readonly path: string;
  readonly bytes: number;
  /** 8 + header length: where the data starts. */
  readonly header_bytes: number;
  readonly sha256: Digest;
  readonly crc: {
    readonly alg: "crc32c";
    readonly block: number;
    readonly path: string;
    readonly sha256: Digest;
  };
  readonly etag?: string;
  readonly store_checksum?: string;
}

/** `w<writer>.<incarnation>.json`: what one writer finished writing. */
export interface WriterManifest {
  readonly swc: typeof SWC_VERSION;
  readonly writer: number;
  readonly inc: number;
  readonly save_id: string;
  readonly step: number;
  readonly generation: number;
  readonly schema: Digest;
  readonly files: readonly ManifestFile[];
  /** Over the header bytes of all files in listed order. */
  readonly entries_sha256: Digest;
  readonly self: Digest;
}

/** Base weights that a checkpoint refers to and never copies. */
export interface ExternalWeights {
  readonly as: string;
  readonly type: string;
  readonly repo: string;
  readonly revision: string;
  readonly files: Readonly<Record<string, Digest>>;
}

/** Parameters with the same settings; rates are those of the commit's step. */
export interface OptimizerGroup {
  readonly id: number;
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weight_decay: number;
  /** Of the sorted names, joined by line feeds. */
  readonly params_sha256: Digest;
}

/** The optimizer as of the commit; its step is also the position of the schedule. */
export interface OptimizerRecord {
  readonly class: string;
  readonly step: number;
  readonly groups: readonly OptimizerGroup[];
  readonly stateless_params: readonly string[];
}

/** The global lane cursor: no position of any rank. */
export interface DataCursor {
  readonly dataset_sha256: Digest;
  readonly seed: number;
  readonly permutation: string;
  readonly lanes_per_step: number;
  readonly micro_batches_per_lane: number;
  readonly sequences_per_micro_batch: number;
  readonly next_step: number;
  readonly next_lane: number;
  readonly consumed_sequences: number;
  readonly epoch: number;
}

/** Where training stands: schedule, loss scale, tokens, data. */
export interface TrainRecord {
  readonly lr_scheduler: { readonly type: string; readonly warmup: number; readonly total: number };
  readonly scaler: {
    readonly scale: number;
    readonly clean_steps: number;
    readonly skipped: number;
  } | null;
  readonly tokens: number;
  readonly data: DataCursor;
}

/** The adapter whose tensors are the trainable space. */
export interface LoraRecord {
  readonly r: number;
  readonly alpha: number;
  /** The multiplier of B·A: the stored truth; `r` and `alpha` are for export. */
  readonly scale: number;
  readonly use_rslora: boolean;
  readonly dropout: number;
  readonly use_dora: boolean;
  readonly bias: string;
  readonly target_modules: readonly string[];
  readonly modules_to_save: readonly string[];
  readonly base: string;
}

interface Register {
  readonly swc: typeof SWC_VERSION;
  readonly run: string;
  readonly step: number;
  readonly generation: number;
  readonly try: number;
  readonly save_id: string;
  /** RFC 3339 UTC. */
  readonly created: string;
  readonly self: Digest;
}

/** The one write that makes a checkpoint exist. */
export interface CommitRecord extends Register {
  readonly status: "committed";
  /** What a reader must understand; an unknown entry is refused. */
  readonly requires: readonly string[];
  readonly job: string;
  readonly parents: readonly string[];
  readonly trigger: SaveTrigger;
  readonly schema: { readonly path: string; readonly sha256: Digest; readonly tensors: number };
  readonly world: {
    readonly size: number;
    readonly dp: number;
    readonly tp: number;
    readonly pp: number;
    readonly zero: number;
  };
  /** `runs`: [writer, first block, count]; information only, headers decide. */
  readonly layout: {
    readonly type: "blocks";
    readonly block_map_sha256: Digest;
    readonly runs: readonly (readonly [number, number, number])[];
  };
  readonly writers: readonly {
    readonly id: number;
    readonly manifest: string;
    readonly sha256: Digest;
    readonly bytes: number;
  }[];
  readonly external: readonly ExternalWeights[];
  readonly optimizer: OptimizerRecord;
  readonly train: TrainRecord;
  readonly rng: { readonly policy: "counter-v1"; readonly seed: number };
  readonly lora: LoraRecord | null;
  readonly metrics: Readonly<Record<string, number>>;
  readonly env: {
    readonly shardwright: string;
    readonly torch: string;
    readonly device_type: string;
    readonly code_sha256: Digest;
  };
  /** Over the files of all writers. */
  readonly merkle: Digest;
  readonly state_digest: Digest | null;
}

/** A save that was decided against; it occupies the register for good. */
export interface AbortRecord extends Register {
  readonly status: "aborted";
  readonly reason: string;
  readonly detail: string;
  readonly by_generation: number;
}

/** What stands in `commits/<key>.json`. */
export type RegisterRecord = CommitRecord | AbortRecord;

/** A committed checkpoint that may be deleted; written before its files go. */
export interface Tombstone {
  readonly swc: typeof SWC_VERSION;
  readonly retired: string;
  readonly reason: string;
  readonly created: string;
  readonly self: Digest;
}
