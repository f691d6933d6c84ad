/**
 * A plain object (decoded YAML or JSON) → the job it describes. Every complaint at once, each with its path;
 * defaults and the preset written out. Decoding text is the caller's: this file reads values.
 */
import type { Complaint } from "./faults.ts";
import { asObject, below, complain, type Place, type Report, required, shown } from "./fields.ts";
import {
  COMPLAINTS_MAX,
  METADATA_ENTRIES_MAX,
  METADATA_KEY_CHARACTERS_MAX,
  METADATA_VALUE_CHARACTERS_MAX,
} from "./limits.ts";
import { nearestName } from "./nearest.ts";
import { checkPlainValue } from "./plain-value.ts";
import { PRESETS, withPreset } from "./presets.ts";
import { checkRules, warningsFor } from "./rules.ts";
import type { JobDocument, JobSpec } from "./spec.ts";
import * as fields from "./spec-fields.ts";

/** `apiVersion` of every document. */
export const API_VERSION = "shardwright.dev/v1alpha1";
/** `kind` of every document. */
export const KIND = "FineTuneJob";

/** The document, or every complaint. */
export type DocumentReading =
  | { readonly ok: true; readonly document: JobDocument; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly complaints: readonly Complaint[] };

/** The spec, or every complaint. */
export type SpecReading =
  | { readonly ok: true; readonly spec: JobSpec; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly complaints: readonly Complaint[] };

/** A whole document: apiVersion, kind, metadata, spec. A `status` and server-made metadata are read over. */
export function parseJobDocument(document: unknown): DocumentReading {
  const unfit = checkPlainValue(document);
  const at: Place = { path: "", report: { complaints: [], warnings: [] } };
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    const problem = `a job is an object with apiVersion, kind, metadata and spec, got ${shown(document)}`;
    return { ok: false, complaints: [{ path: "", problem }] };
  }
  const source: Readonly<Record<string, unknown>> = { ...document };
  checkHead(source, at);
  const metadata = readMetadata(source["metadata"], below(at, "metadata"));
  const spec = readSpec(source["spec"], at.report);
  const complaints = merged(unfit, at.report.complaints);
  return complaints.length === 0
    ? { ok: true, document: { metadata, spec }, warnings: at.report.warnings }
    : { ok: false, complaints };
}

/** The `spec` alone; paths begin with `spec.` all the same. */
export function parseJobSpec(value: unknown): SpecReading {
  const unfit = checkPlainValue(value, "spec");
  const report: Report = { complaints: [], warnings: [] };
  const spec = readSpec(value, report);
  const complaints = merged(unfit, report.complaints);
  return complaints.length === 0
    ? { ok: true, spec, warnings: report.warnings }
    : { ok: false, complaints };
}

/** What makes a value unfit comes first; what a reader says of the same place is then no news. */
function merged(unfit: readonly Complaint[], read: readonly Complaint[]): Complaint[] {
  const news = read.filter(({ path }) => !unfit.some((complaint) => complaint.path === path));
  return [...unfit, ...news].slice(0, COMPLAINTS_MAX);
}

/**
 * The plain object that stands for a document: every field written out, in one order. Parsing it gives an equal
 * document, and writing that gives the same object again.
 */
export function toPlainDocument(document: JobDocument): {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: JobDocument["metadata"];
  readonly spec: JobSpec;
} {
  const { metadata, spec } = document;
  return {
    apiVersion: API_VERSION,
    kind: KIND,
    metadata: {
      name: metadata.name,
      labels: { ...metadata.labels },
      annotations: { ...metadata.annotations },
    },
    spec: structuredClone(spec),
  };
}

const HEAD_FIELDS = ["apiVersion", "kind", "metadata", "spec", "status"] as const;

function checkHead(source: Readonly<Record<string, unknown>>, at: Place): void {
  for (const [field, expected] of [
    ["apiVersion", API_VERSION],
    ["kind", KIND],
  ] as const) {
    if (source[field] !== expected) {
      complain(below(at, field), `must be "${expected}", got ${shown(source[field])}`);
    }
  }
  for (const key of Object.keys(source)) {
    if ((HEAD_FIELDS as readonly string[]).includes(key)) continue;
    complain(below(at, key), unknownAtTop(key));
  }
}

function unknownAtTop(key: string): string {
  if ((SPEC_FIELDS as readonly string[]).includes(key)) {
    return `unknown field; it belongs under spec: spec.${key}`;
  }
  const near = nearestName(key, HEAD_FIELDS);
  return near === null
    ? `unknown field; known here: ${HEAD_FIELDS.join(", ")}`
    : `unknown field; did you mean "${near}"?`;
}

/** What a server writes into metadata and a user copies along with a job. */
const SERVER_METADATA: readonly string[] = [
  "namespace",
  "uid",
  "resourceVersion",
  "creationTimestamp",
  "generation",
  "managedFields",
  "finalizers",
  "ownerReferences",
];

function readMetadata(value: unknown, at: Place): JobDocument["metadata"] {
  const source = asObject(value, at) ?? { name: "unreadable" };
  for (const key of Object.keys(source)) {
    if (["name", "labels", "annotations", ...SERVER_METADATA].includes(key)) continue;
    const near = nearestName(key, ["name", "labels", "annotations"]);
    complain(
      below(at, key),
      near === null ? "unknown field" : `unknown field; did you mean "${near}"?`,
    );
  }
  return {
    name: required(fields.name, '"support-tone"')(source["name"], below(at, "name")),
    labels: readTexts(source["labels"], below(at, "labels")),
    annotations: readTexts(source["annotations"], below(at, "annotations")),
  };
}

function readTexts(value: unknown, at: Place): Record<string, string> {
  const entries = Object.entries(asObject(value, at) ?? {});
  if (entries.length > METADATA_ENTRIES_MAX) {
    complain(at, `has ${entries.length} entries, at most ${METADATA_ENTRIES_MAX} are allowed`);
  }
  for (const [key, entry] of entries) {
    const place = below(at, key);
    if (key === "" || key.length > METADATA_KEY_CHARACTERS_MAX) {
      complain(place, `a key has 1 to ${METADATA_KEY_CHARACTERS_MAX} characters`);
    }
    if (typeof entry !== "string") {
      complain(place, `must be text, got ${shown(entry)}; write it in quotes`);
    } else if (entry.length > METADATA_VALUE_CHARACTERS_MAX) {
      complain(
        place,
        `has ${entry.length} characters, at most ${METADATA_VALUE_CHARACTERS_MAX} are allowed`,
      );
    }
  }
  return Object.fromEntries(entries.map(([key, entry]) => [key, String(entry)]));
}

const SPEC_FIELDS = [
  "model",
  "data",
  "task",
  "tuning",
  "train",
  "precision",
  "exactness",
  "resources",
  "queue",
  "priority",
  "suspend",
  "activeDeadlineSeconds",
  "faultBudget",
  "checkpoint",
  "export",
  "preset",
] as const satisfies (keyof JobSpec)[];

const LATER_SPEC_FIELDS: Readonly<Record<string, string>> = {
  ttlSecondsAfterFinished: "delete the job when it is done",
  evaluate: "evaluate the exported adapter instead",
  managedBy: "remove it",
  scheduling: "remove it",
  notifications: "remove it",
};

/** 1. the sections that stand here, 2. the preset under them, 3. each section, 4. rules over several. */
function readSpec(value: unknown, report: Report): JobSpec {
  const at: Place = { path: "spec", report };
  if (value === null || value === undefined) complain(at, "is required; it holds model and data");
  const written = asObject(value, at);
  // A spec that is no object is one complaint; its fields are read into a report that nobody sees.
  const inside: Place =
    value === null || value === undefined || written === null
      ? { path: "spec", report: { complaints: [], warnings: [] } }
      : at;
  for (const key of Object.keys(written ?? {})) complainOfSpecField(key, inside);
  const preset = readPreset(written?.["preset"], below(inside, "preset"));
  const source = withPreset(preset === null ? {} : (PRESETS[preset] ?? {}), written ?? {});
  const spec = readSections(source, inside, preset);
  checkRules(spec, inside.report);
  if (inside.report.complaints.length === 0) report.warnings.push(...warningsFor(spec));
  return spec;
}

function complainOfSpecField(key: string, at: Place): void {
  if ((SPEC_FIELDS as readonly string[]).includes(key)) return;
  const place = below(at, key);
  if (Object.hasOwn(LATER_SPEC_FIELDS, key)) {
    complain(place, `is not supported in this release; ${LATER_SPEC_FIELDS[key]}`);
    return;
  }
  const home = sectionOf(key);
  const near = home ?? nearestName(key, SPEC_FIELDS);
  complain(
    place,
    near === null
      ? `unknown field; known here: ${SPEC_FIELDS.join(", ")}`
      : `unknown field; did you mean "${near}"?`,
  );
}

/** The section in which a field that was written one level too high belongs: `epochs` → `train.epochs`. */
function sectionOf(key: string): string | null {
  for (const [section, names] of Object.entries(FIELDS_OF)) {
    if (names.includes(key)) return `${section}.${key}`;
  }
  return null;
}

const FIELDS_OF: Readonly<Record<string, readonly string[]>> = {
  train: ["epochs", "maxSteps", "batchSize", "learningRate", "schedule", "seed", "maxLength"],
  tuning: ["method", "r", "alpha", "dropout", "targets", "rslora"],
  resources: ["members", "gpuType", "threadsPerRank"],
  data: ["packing", "template", "mask", "format", "map", "truncation", "validation", "test"],
  "resources.members": ["replicas", "gpus", "ranks"],
  "data.train": ["source", "rowsMax"],
};

function readPreset(value: unknown, at: Place): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "string" && Object.hasOwn(PRESETS, value)) return value;
  const known = Object.keys(PRESETS);
  const near = typeof value === "string" ? nearestName(value, known) : null;
  const hint = near === null ? "" : `; did you mean "${near}"?`;
  complain(at, `must be one of ${known.join(", ")}, got ${shown(value)}${hint}`);
  return null;
}

function readSections(
  source: Readonly<Record<string, unknown>>,
  at: Place,
  preset: string | null,
): JobSpec {
  const section = (key: keyof JobSpec): [unknown, Place] => [source[key], below(at, key)];
  const tuning = fields.tuning(...section("tuning"));
  return {
    model: fields.model(...section("model")),
    data: fields.data(...section("data")),
    task: fields.task(...section("task")),
    tuning,
    train: fields.train(...section("train"), tuning.method),
    precision: fields.precision(...section("precision")),
    exactness: fields.exactness(...section("exactness")),
    resources: fields.resources(...section("resources")),
    queue: fields.queue(...section("queue")),
    priority: fields.priority(...section("priority")),
    suspend: fields.suspend(...section("suspend")),
    activeDeadlineSeconds: fields.activeDeadlineSeconds(...section("activeDeadlineSeconds")),
    faultBudget: fields.faultBudget(...section("faultBudget")),
    checkpoint: fields.checkpoint(...section("checkpoint")),
    export: fields.exports(...section("export"), tuning.method),
    preset,
  };
}
