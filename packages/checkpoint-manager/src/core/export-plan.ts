import { canonicalJson, isList, isObject, type Json, type JsonObject } from "./canonical-json.ts";
import type { CommitRecord } from "./commit-record.ts";
import type { Schema } from "./schema.ts";
import { type Checked, refuse } from "./swc-problem.ts";

export const EXPORT_FORMATS = ["peft", "hf"] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];
/** stored: what the base's file has (merged and full), fp32 as trained (adapter). */
export const EXPORT_DTYPES = ["stored", "fp32", "bf16"] as const;
export type ExportDtype = (typeof EXPORT_DTYPES)[number];

/** A weight file is cut here, greedily in key order: what hubs and loaders expect. */
const SHARD_BYTES_MAX = 5_000_000_000;
/** GPT-2 keeps linear weights as [in, out]; peft calls it fan_in_fan_out. */
const TRANSPOSED_MODELS = new Set(["gpt2", "openai-gpt", "imagegpt", "decision_transformer"]);
const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "vocab.txt",
  "merges.txt",
  "spiece.model",
  "chat_template.jinja",
];

export interface ExportRequest {
  readonly format: ExportFormat;
  readonly merge: boolean;
  readonly dtype: ExportDtype;
}

/** The frozen model that the checkpoint refers to. */
export interface ExportBase {
  readonly directory: string;
  /** config.json, parsed. */
  readonly config: Json;
  /** Digest of each file that the job vouched for. */
  readonly files: Readonly<Record<string, string>>;
}

/** One tensor of the output that is a tensor of the checkpoint. */
interface PlannedTensor {
  readonly name: string;
  readonly fqn: string;
}

/** One weight of the base that gets scale·B·A added. */
interface PlannedMerge {
  readonly weight: string;
  readonly a: string;
  readonly b: string;
}

/** What `python -m shardwright_trainer.files.export` carries out, to the letter. */
export interface ExportPlan {
  readonly v: 1;
  readonly run_directory: string;
  readonly commit: string;
  readonly output_directory: string;
  readonly format: ExportFormat;
  readonly merge: boolean;
  readonly dtype: ExportDtype;
  readonly base: {
    readonly directory: string;
    readonly files: Readonly<Record<string, string>>;
  } | null;
  readonly tensors: readonly PlannedTensor[];
  readonly merges: readonly PlannedMerge[];
  readonly scale: number;
  readonly transposed: boolean;
  /** Files to take from the base when it has them. */
  readonly copy: readonly string[];
  /** File name → JSON to write. */
  readonly write: Readonly<Record<string, Json>>;
  readonly shard_bytes_max: number;
  /** What export.json says of where this came from. */
  readonly source: { readonly run: string; readonly commit: string; readonly merkle: string };
}

export interface ExportPlaces {
  readonly runDirectory: string;
  readonly outputDirectory: string;
  readonly commit: string;
}

/** Everything that decides an export, or why there cannot be one. */
export function planExport(
  what: { readonly record: CommitRecord; readonly schema: Schema; readonly request: ExportRequest },
  base: ExportBase | null,
  places: ExportPlaces,
): Checked<ExportPlan> {
  const { record, schema, request } = what;
  const lora = loraOf(record);
  const why = whyRefused(request, lora, base);
  if (why !== null) return refuse("SWC_EXPORT_REFUSED", `export: ${why}`);
  const config = base !== null && isObject(base.config) ? base.config : {};
  const parts =
    request.format === "peft" && lora !== null
      ? adapterParts(schema, lora)
      : weightParts(schema, lora);
  if (!parts.ok) return parts;
  const template = record.raw["template"];
  const write: Record<string, Json> = {};
  if (isObject(template)) write["shardwright_template.json"] = template;
  if (request.format === "peft" && lora !== null) {
    write["adapter_config.json"] = adapterConfig(lora, schema, { config, record });
  } else if (request.dtype !== "stored") {
    write["config.json"] = castConfig(config, request.dtype);
  }
  return {
    ok: true,
    value: {
      v: 1,
      run_directory: places.runDirectory,
      commit: places.commit,
      output_directory: places.outputDirectory,
      ...request,
      base: base === null ? null : { directory: base.directory, files: base.files },
      ...parts.value,
      scale: lora?.scale ?? 0,
      transposed: isTransposed(config, lora),
      copy: copiesOf(request),
      write,
      shard_bytes_max: SHARD_BYTES_MAX,
      source: { run: record.run, commit: places.commit, merkle: record.merkle },
    },
  };
}

/** Where the base lies, from the record's `external` entry "base": a file:// address in `source`. */
export function baseDirectoryOf(
  record: CommitRecord,
): { readonly directory: string; readonly files: Readonly<Record<string, string>> } | null {
  const external = record.raw["external"];
  const entry = isList(external)
    ? external.find((one) => isObject(one) && one["as"] === "base")
    : undefined;
  if (!isObject(entry)) return null;
  const source = entry["source"];
  if (typeof source !== "string" || !source.startsWith("file://")) return null;
  const files = isObject(entry["files"]) ? entry["files"] : {};
  const digests = Object.entries(files).filter(
    (pair): pair is [string, string] => typeof pair[1] === "string",
  );
  return { directory: decoded(source.slice("file://".length)), files: Object.fromEntries(digests) };
}

/** A path with a bare "%" was never encoded and is taken as it is. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

interface Lora {
  readonly r: number;
  readonly scale: number;
  readonly useRslora: boolean;
  readonly dropout: number;
  readonly fanInFanOut: boolean | null;
  readonly targetModules: readonly string[];
}

/** The record's LoRA facts; null for full tuning. */
function loraOf(record: CommitRecord): Lora | null {
  const lora = record.raw["lora"];
  if (!isObject(lora)) return null;
  const { r, scale, dropout } = lora;
  if (typeof r !== "number" || typeof scale !== "number") return null;
  const targets = lora["target_modules"];
  return {
    r,
    scale,
    useRslora: lora["use_rslora"] === true,
    dropout: typeof dropout === "number" ? dropout : 0,
    fanInFanOut: typeof lora["fan_in_fan_out"] === "boolean" ? lora["fan_in_fan_out"] : null,
    targetModules: isList(targets) ? targets.filter((one) => typeof one === "string") : [],
  };
}

function whyRefused(
  request: ExportRequest,
  lora: Lora | null,
  base: ExportBase | null,
): string | null {
  const { format, merge } = request;
  if (format === "peft" && lora === null)
    return "the job tuned all weights; there is no adapter, use hf";
  if (format === "peft" && merge) return "a merged adapter is not an adapter; use hf with merge";
  if (format === "hf" && lora !== null && !merge) {
    return "the job tuned an adapter; use peft, or hf with merge";
  }
  if (format === "hf" && lora === null && merge)
    return "the job tuned all weights; there is nothing to merge";
  if (base === null)
    return format === "peft"
      ? null
      : "the record names no local base model to take config and frozen weights from";
  if (
    format === "hf" &&
    isObject(base.config) &&
    base.config["quantization_config"] !== undefined
  ) {
    return "the base is quantised; merge into its 16-bit original instead";
  }
  return null;
}

interface Parts {
  readonly tensors: readonly PlannedTensor[];
  readonly merges: readonly PlannedMerge[];
}

/** Every tensor under peft's name; A and B must come in pairs that agree with r. */
function adapterParts(schema: Schema, lora: Lora): Checked<Parts> {
  const pairs = pairsOf(schema, lora);
  if (!pairs.ok) return pairs;
  const tensors = schema.tensors.map(({ fqn }) => ({ name: `base_model.model.${fqn}`, fqn }));
  return { ok: true, value: { tensors, merges: [] } };
}

/** Merged: pairs by the weight they change. Full: every tensor by its own name. */
function weightParts(schema: Schema, lora: Lora | null): Checked<Parts> {
  if (lora === null) {
    const tensors = schema.tensors.map(({ fqn }) => ({ name: fqn, fqn }));
    return { ok: true, value: { tensors, merges: [] } };
  }
  const pairs = pairsOf(schema, lora);
  return pairs.ok ? { ok: true, value: { tensors: [], merges: pairs.value } } : pairs;
}

function pairsOf(schema: Schema, lora: Lora): Checked<readonly PlannedMerge[]> {
  const shapes = new Map(schema.tensors.map((tensor) => [tensor.fqn, tensor.shape]));
  const merges: PlannedMerge[] = [];
  for (const { fqn, shape } of schema.tensors) {
    if (!/\.lora_[AB]\.weight$/.test(fqn)) {
      return refuse("SWC_EXPORT_REFUSED", `export: ${fqn} is neither lora_A nor lora_B`);
    }
    const rank = shape[fqn.endsWith(".lora_A.weight") ? 0 : 1];
    if (shape.length !== 2 || rank !== lora.r) {
      return refuse(
        "SWC_EXPORT_REFUSED",
        `export: ${fqn} is [${shape}], which disagrees with r = ${lora.r}`,
      );
    }
    const module = fqn.replace(/\.lora_[AB]\.weight$/, "");
    const [a, b] = [`${module}.lora_A.weight`, `${module}.lora_B.weight`];
    if (!shapes.has(a) || !shapes.has(b)) {
      return refuse("SWC_EXPORT_REFUSED", `export: ${module} has only one of lora_A and lora_B`);
    }
    if (fqn === a) merges.push({ weight: `${module}.weight`, a, b });
  }
  if (merges.length === 0) return refuse("SWC_EXPORT_REFUSED", "export: the adapter is empty");
  return { ok: true, value: merges };
}

function isTransposed(config: JsonObject, lora: Lora | null): boolean {
  const model = config["model_type"];
  return lora?.fanInFanOut ?? (typeof model === "string" && TRANSPOSED_MODELS.has(model));
}

/** Fields that vanilla peft reads; `lora_alpha` is made from the scale, which is the stored truth. */
function adapterConfig(
  lora: Lora,
  schema: Schema,
  { config, record }: { readonly config: JsonObject; readonly record: CommitRecord },
): JsonObject {
  const leaves = schema.tensors.map(({ fqn }) => fqn.split(".").at(-3) ?? fqn);
  const targets = lora.targetModules.length > 0 ? lora.targetModules : [...new Set(leaves)];
  const alpha = lora.scale * (lora.useRslora ? Math.sqrt(lora.r) : lora.r);
  const base = baseDirectoryOf(record);
  const external = record.raw["external"];
  const entry = isList(external) ? external.find(isObject) : undefined;
  return {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: String(entry?.["repo"] ?? base?.directory ?? ""),
    revision: typeof entry?.["revision"] === "string" ? entry["revision"] : null,
    inference_mode: true,
    r: lora.r,
    lora_alpha: Number(alpha.toPrecision(12)),
    lora_dropout: lora.dropout,
    target_modules: [...targets].sort(),
    fan_in_fan_out: isTransposed(config, lora),
    bias: "none",
    use_rslora: lora.useRslora,
    use_dora: false,
    modules_to_save: null,
  };
}

/** An adapter folder has no config.json: loaders would take it for a whole model. */
function copiesOf({ format, dtype }: ExportRequest): readonly string[] {
  if (format === "peft") return TOKENIZER_FILES;
  const config = dtype === "stored" ? ["config.json"] : [];
  return [...TOKENIZER_FILES, "generation_config.json", ...config];
}

/** The base's configuration, saying the dtype that the weights are cast to. */
function castConfig(config: JsonObject, dtype: ExportDtype): JsonObject {
  const name = dtype === "bf16" ? "bfloat16" : "float32";
  const field = config["torch_dtype"] === undefined ? "dtype" : "torch_dtype";
  return { ...config, [field]: name };
}

/** The plan as the child process reads it. */
export function exportPlanText(plan: ExportPlan): string {
  return canonicalJson(plan as unknown as JsonObject);
}
