/** What a request fixes before anything is enumerated: device, adapter, dtypes, attention, row lengths. */
import type { Reason } from "@shardwright/job";
import { adapterOf } from "./adapter.ts";
import { blockElementsFor } from "./flat.ts";
import { type DeviceCard, GPU_CARDS } from "./gpu-card.ts";
import type { MemoryQuestion } from "./memory.ts";
import type { AttentionPath, ComputeDtype, ComputedTokens } from "./parallel-plan.ts";
import type { PlanRequest } from "./plan-request.ts";
import { dtypeBytes, type StateScheme, schemeOf } from "./states.ts";

/** Rows of a job whose data is unknown and unbounded are planned as this long. */
export const ROW_TOKENS_ASSUMED = 2048;
/** Until the data is known, a row is taken to be this share of the longest: instruction data is mostly short. */
const MEAN_ROW_RATIO = 0.25;

export interface PlanSetting {
  readonly device: DeviceCard;
  readonly adapter: MemoryQuestion["adapter"];
  readonly trainableElements: number;
  readonly blockElements: number;
  readonly computeDtype: ComputeDtype;
  readonly wireDtype: ComputeDtype;
  readonly scheme: StateScheme;
  readonly valueBytes: number;
  readonly attention: AttentionPath;
  readonly computedTokens: ComputedTokens;
  /** Tokens of the longest row by the spec alone: what the recipe may depend on. */
  readonly rowTokensBound: number;
  /** Tokens of a usual row by the spec alone: the recipe may depend on it, too. */
  readonly rowTokensUsual: number;
  /** Tokens of the longest row, from the data where it is known; and of a row on average. */
  readonly rowTokensMax: number;
  readonly rowTokensMean: number;
  /** Tokens of the longest document, and of one on average: what attends to itself. */
  readonly documentTokensMax: number;
  readonly documentTokensMean: number;
  /** Every row is filled up to this; 0: a row is as long as its tokens. */
  readonly rowTokensFilled: number;
  readonly warnings: readonly string[];
}

export type SettingReading =
  | { readonly ok: true; readonly setting: PlanSetting }
  | { readonly ok: false; readonly reason: Reason };

/** The setting, or the first thing that no plan can get around. */
export function settle(request: PlanRequest): SettingReading {
  const { spec, card, devices } = request;
  const device = GPU_CARDS.get(devices.kind);
  if (device === undefined) return no("UnknownDevice", unknownDevice(devices.kind));
  const refusal = notExecuted(request, device);
  if (refusal !== null) return { ok: false, reason: refusal };
  const reading =
    spec.tuning.method === "full" ? null : adapterOf(card, spec.tuning.r, spec.tuning.targets);
  if (reading !== null && !reading.ok) {
    const sentence = reading.complaints
      .map(({ path, problem }) => `${path}: ${problem}`)
      .join("; ");
    return no("TargetsUnknown", sentence);
  }
  const adapter = reading === null ? null : { r: spec.tuning.r, ...reading };
  const trainableElements = adapter?.trainableElements ?? card.parameters;
  const computeDtype = computeDtypeOf(request, device);
  const rows = rowTokens(request);
  return {
    ok: true,
    setting: {
      device,
      adapter,
      trainableElements,
      blockElements: blockElementsFor(trainableElements),
      computeDtype,
      wireDtype: adapter === null ? computeDtype : "fp32",
      scheme: schemeOf(computeDtype),
      valueBytes: dtypeBytes(computeDtype),
      attention: attentionOf(request, device, rows),
      computedTokens: computedTokensOf(request, device),
      ...rows,
      rowTokensFilled: filledTokens(request, device, rows.rowTokensBound),
      warnings: warningsOf(request, { device, computeDtype }),
    },
  };
}

function no(code: string, sentence: string): SettingReading {
  return { ok: false, reason: { code, sentence } };
}

function unknownDevice(kind: string): string {
  return `device "${kind}" is not known; known are ${[...GPU_CARDS.keys()].join(", ")}`;
}

/** What this release's trainer does not do: said here, before anything is queued. */
function notExecuted({ spec }: PlanRequest, device: DeviceCard): Reason | null {
  if (spec.tuning.method === "qlora") {
    return {
      code: "MethodNotExecuted",
      sentence: "tuning.method qlora is not executed by this release; use lora, or full",
    };
  }
  if (spec.precision === "fp16") {
    return {
      code: "PrecisionNotExecuted",
      sentence: "precision fp16 is not executed by this release; use auto, bf16 or fp32",
    };
  }
  if (spec.precision === "bf16" && !device.isCpu && !device.hasBf16) {
    return {
      code: "PrecisionNotExecuted",
      sentence: `a ${device.kind} does not compute in bf16; use precision fp32`,
    };
  }
  return null;
}

function computeDtypeOf({ spec, recipe }: PlanRequest, device: DeviceCard): ComputeDtype {
  if (recipe !== null) return recipe.computeDtype;
  if (spec.precision === "fp32" || spec.precision === "bf16") return spec.precision;
  return device.hasBf16 ? "bf16" : "fp32";
}

/** Soft-capped scores, and documents longer than the model's window, need the dense path. */
function attentionOf(
  { spec, card, recipe }: PlanRequest,
  device: DeviceCard,
  rows: RowTokens,
): AttentionPath {
  if (recipe !== null) return recipe.attention;
  const leavesWindow = card.slidingWindow !== null && rows.documentTokensMax > card.slidingWindow;
  if (card.attention === "math" || leavesWindow) return "math";
  return !device.isCpu && spec.data.packing !== null ? "varlen" : "sdpa";
}

/**
 * A CPU computes what several documents open with once, and nothing that no loss depends on. Accelerators want the
 * fixed shapes of filled rows; with dropout each document drops something else from the same opening.
 */
function computedTokensOf({ spec, card }: PlanRequest, device: DeviceCard): ComputedTokens {
  const adapterDrops = spec.tuning.method !== "full" && spec.tuning.dropout > 0;
  return device.isCpu && !adapterDrops && !card.drops ? "needed" : "all";
}

type RowTokens = Pick<
  PlanSetting,
  | "rowTokensBound"
  | "rowTokensUsual"
  | "rowTokensMax"
  | "rowTokensMean"
  | "documentTokensMax"
  | "documentTokensMean"
>;

/** The smallest limit on a document that anybody set, as the trainer applies it; null when nobody did. */
function documentLimit({ spec, card }: PlanRequest): number | null {
  const given = [spec.train.maxLength, spec.data.truncation.maxTokens, spec.data.packing?.length]
    .map((limit) => limit ?? Number.POSITIVE_INFINITY)
    .reduce((a, b) => Math.min(a, b));
  return Number.isFinite(given) ? Math.min(given, card.contextLength) : null;
}

function rowTokens(request: PlanRequest): RowTokens {
  const { spec, card, data } = request;
  const document = documentLimit(request) ?? Math.min(ROW_TOKENS_ASSUMED, card.contextLength);
  const mean = Math.ceil(document * MEAN_ROW_RATIO);
  if (spec.data.packing !== null) {
    const { length } = spec.data.packing;
    return {
      rowTokensBound: length,
      rowTokensUsual: length,
      rowTokensMax: length,
      rowTokensMean: length,
      documentTokensMax: document,
      documentTokensMean: mean,
    };
  }
  const longest = data?.rowTokensMax ?? document;
  const known = data?.tokens === undefined ? longest : data.tokens / Math.max(1, data.rows);
  const average = data === null ? mean : known;
  return {
    rowTokensBound: document,
    rowTokensUsual: mean,
    rowTokensMax: longest,
    rowTokensMean: average,
    documentTokensMax: longest,
    documentTokensMean: average,
  };
}

/** Accelerators want few shapes, so rows are filled up where their bound is known; packs are filled anyway. */
function filledTokens(request: PlanRequest, device: DeviceCard, bound: number): number {
  if (request.spec.data.packing !== null) return bound;
  return device.isCpu || documentLimit(request) === null ? 0 : bound;
}

function warningsOf(
  request: PlanRequest,
  facts: Pick<PlanSetting, "device" | "computeDtype">,
): string[] {
  const { spec, card } = request;
  const warnings: string[] = [];
  if (facts.device.isCpu && facts.computeDtype === "bf16") {
    warnings.push("precision bf16 on a CPU is slower than fp32 unless the processor has AMX");
  }
  const wanted = spec.train.maxLength ?? spec.data.truncation.maxTokens ?? 0;
  if (wanted > card.contextLength) {
    warnings.push(
      `examples of up to ${wanted} tokens are asked for, the model reads ${card.contextLength}: the limit is ${card.contextLength}`,
    );
  }
  if (documentLimit(request) === null && request.data === null) {
    warnings.push(
      `train.maxLength is not set: planned for examples of up to ${Math.min(ROW_TOKENS_ASSUMED, card.contextLength)} tokens, the model reads ${card.contextLength}`,
    );
  }
  return warnings;
}
