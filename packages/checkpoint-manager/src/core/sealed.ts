import { SWC_VERSION } from "@shardwright/job/checkpoint";
import { z } from "zod";
import {
  canonicalJson,
  isObject,
  type Json,
  type JsonObject,
  parseCanonical,
} from "./canonical-json.ts";
import { type Checked, refuse } from "./swc-problem.ts";

/** "sha256:<64 hex>" of text (as UTF-8) or bytes; cores are given it, they have no crypto of their own. */
export type Sha256 = (data: string | Uint8Array) => string;

/** Limits before parsing: a record of the largest job is below 1 MiB. */
export const RECORD_BYTES_MAX = 16 * 1024 * 1024;
export const SCHEMA_BYTES_MAX = 64 * 1024 * 1024;

export const sha256Name = z.string().regex(/^sha256:[0-9a-f]{64}$/);
export const commitKeyText = z.string().regex(/^\d{20}-\d{10}-\d{3}$/);
export const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
/** Relative to its folder, no component that moves up or hides. */
export const relativePath = z
  .string()
  .regex(/^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/)
  .refine((path) => !path.split("/").some((part) => part === "." || part === ".."));

/** Stored bytes of an object, with its own digest. */
export function seal(value: JsonObject, sha256: Sha256): string {
  return canonicalJson({ ...value, self: sha256(canonicalJson(value)) });
}

/** An object as stored: canonical, with the right digest of itself, of a version and with features we know. */
export function unseal(path: string, text: string, sha256: Sha256): Checked<JsonObject> {
  const parsed = parseCanonical(text);
  if (!parsed.ok)
    return refuse("SWC_BAD_RECORD", `${path}: ${parsed.why}; the record is torn or edited`);
  if (!isObject(parsed.value)) {
    return refuse("SWC_BAD_RECORD", `${path}: not a JSON object; the record is torn or edited`);
  }
  const { self, ...rest } = parsed.value;
  const computed = sha256(canonicalJson(rest));
  if (self !== computed) {
    const sentence = `${path}: self digest mismatch (stored ${self}, computed ${computed}); the record is torn or edited`;
    return refuse("SWC_BAD_RECORD", sentence);
  }
  return knownVersion(path, parsed.value);
}

/** Refuses a version or a feature that a reader would have to understand. */
export function knownVersion(path: string, value: JsonObject): Checked<JsonObject> {
  if (value["swc"] !== SWC_VERSION) {
    const sentence = `${path}: format version ${value["swc"]}, newest supported is ${SWC_VERSION}; upgrade Shardwright; nothing was changed`;
    return refuse("SWC_UNSUPPORTED_VERSION", sentence);
  }
  const requires = value["requires"];
  const unknown = Array.isArray(requires) ? (requires as readonly Json[])[0] : undefined;
  if (unknown !== undefined) {
    const sentence = `${path}: requires "${unknown}", unknown to this version; nothing was changed`;
    return refuse("SWC_UNKNOWN_FEATURE", sentence);
  }
  return { ok: true, value };
}

/** The fields a reader needs of an unsealed object, or the first few that are wrong. */
export function shaped<T>(path: string, value: Json, shape: z.ZodType<T>): Checked<T> {
  const parsed = shape.safeParse(value);
  if (parsed.success) return { ok: true, value: parsed.data };
  const issues = parsed.error.issues
    .slice(0, 3)
    .map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  return refuse("SWC_BAD_RECORD", `${path}: ${issues.join("; ")}; the record is torn or edited`);
}
