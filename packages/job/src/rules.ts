/** Rules over several fields: each names the fields, the conflict and the way out. */
import { complain, isBad, type Report } from "./fields.ts";
import type { ExportSpec, JobSpec, Method } from "./spec.ts";

interface Rule {
  /** Where the complaint stands; the rule is silent when a field it needs is bad already. */
  readonly path: string;
  readonly needs: readonly string[];
  /** null when the spec keeps the rule. */
  readonly problem: (spec: JobSpec) => string | null;
}

const RULES: readonly Rule[] = [
  {
    path: "spec.resources.members.replicas",
    needs: ["spec.resources.members"],
    problem: ({ resources: { members } }) => {
      const { replicas, min, max } = members;
      if (min !== null && max !== null && min > max) return `min is ${min} and max is ${max}`;
      if (replicas !== null && min !== null && replicas < min) {
        return `replicas is ${replicas}, below min ${min}`;
      }
      return replicas !== null && max !== null && replicas > max
        ? `replicas is ${replicas}, above max ${max}`
        : null;
    },
  },
  {
    path: "spec.train.maxLength",
    needs: ["spec.data.packing", "spec.train.maxLength"],
    problem: ({ data: { packing }, train: { maxLength } }) =>
      packing && maxLength !== null && maxLength > packing.length
        ? `is ${maxLength} tokens, but packs hold ${packing.length}; raise data.packing.length or lower train.maxLength`
        : null,
  },
  {
    path: "spec.data.truncation.maxTokens",
    needs: ["spec.data.packing", "spec.data.truncation"],
    problem: ({ data: { packing, truncation } }) =>
      packing && truncation.maxTokens !== null && truncation.maxTokens > packing.length
        ? `is ${truncation.maxTokens} tokens, but packs hold ${packing.length}; raise data.packing.length or lower it`
        : null,
  },
  {
    path: "spec.train.warmupSteps",
    needs: ["spec.train.warmupSteps", "spec.train.maxSteps"],
    problem: ({ train: { warmupSteps, maxSteps } }) =>
      warmupSteps !== null && maxSteps !== null && warmupSteps >= maxSteps
        ? `is ${warmupSteps}, but the whole job has ${maxSteps} steps; the rate would never reach its peak`
        : null,
  },
  {
    path: "spec.train.microBatch",
    needs: ["spec.train.microBatch", "spec.train.batchSize"],
    problem: ({ train: { microBatch, batchSize } }) =>
      microBatch !== null && microBatch > batchSize
        ? `is ${microBatch} rows, more than the ${batchSize} of train.batchSize`
        : null,
  },
  {
    path: "spec.train.lanes",
    needs: ["spec.train.lanes", "spec.train.batchSize"],
    problem: ({ train: { lanes, batchSize } }) =>
      lanes !== null && lanes > batchSize
        ? `is ${lanes}, but a step has only ${batchSize} rows (train.batchSize) to give to lanes`
        : null,
  },
  {
    path: "spec.train.microBatch",
    needs: ["spec.train.microBatch", "spec.train.batchSize", "spec.train.lanes"],
    problem: ({ train: { microBatch, lanes, batchSize } }) =>
      microBatch !== null && lanes !== null && batchSize % (microBatch * lanes) !== 0
        ? `${lanes} lanes of micro-batches of ${microBatch} rows do not divide train.batchSize ${batchSize}`
        : null,
  },
  {
    path: "spec.data.mask",
    needs: ["spec.data.mask", "spec.data.format"],
    problem: ({ data: { mask, format } }) =>
      format === "text" && mask !== "auto" && mask !== "all"
        ? `is "${mask}", but raw text has no turns or completions; use all`
        : null,
  },
];

/** Complaints go to `report`; `spec` may hold stand-ins where fields were bad. */
export function checkRules(spec: JobSpec, report: Report): void {
  for (const rule of RULES) {
    if (rule.needs.some((path) => isBad(report, path))) continue;
    const problem = rule.problem(spec);
    if (problem !== null) complain({ path: rule.path, report }, problem);
  }
  if (!isBad(report, "spec.export") && !isBad(report, "spec.tuning.method")) {
    checkExports(spec.export, spec.tuning.method, report);
  }
}

function checkExports(exports: readonly ExportSpec[], method: Method, report: Report): void {
  exports.forEach((one, index) => {
    const at = { path: `spec.export[${index}]`, report };
    const problem = problemOfExport(one, method);
    if (problem !== null) complain(at, problem);
    const twin = exports.findIndex((other) => isSamePlace(one, other));
    if (twin < index) complain(at, `writes to the same place as export[${twin}]`);
  });
}

function problemOfExport(one: ExportSpec, method: Method): string | null {
  if (one.format === "peft") {
    if (method === "full") return "peft holds an adapter and full tuning has none; use format: hf";
    return one.merge ? "peft holds the adapter alone; use format: hf with merge: true" : null;
  }
  return method !== "full" && !one.merge
    ? "hf holds whole weights, which a LoRA job has only merged; add merge: true, or use format: peft"
    : null;
}

function isSamePlace(a: ExportSpec, b: ExportSpec): boolean {
  return a.destination === null
    ? b.destination === null && a.format === b.format
    : a.destination === b.destination;
}

/** What is legal and still worth a word. */
export function warningsFor(spec: JobSpec): string[] {
  const warnings: string[] = [];
  const { train, tuning } = spec;
  if (tuning.method === "full" && train.learningRate >= 1e-4) {
    warnings.push(
      `spec.train.learningRate: ${train.learningRate} is high for full tuning, which usually takes 1e-5`,
    );
  }
  if (train.schedule === "constant" && (train.warmupSteps ?? 0) > 0) {
    warnings.push(
      "spec.train.warmupSteps: schedule constant has no warm-up; use constant_with_warmup",
    );
  }
  return warnings;
}
