import { canonicalJson as textOf } from "@shardwright/job/canonical-json";

/** What JSON can carry. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** Deeper objects are an attack, not a checkpoint. */
const DEPTH_MAX = 64;

/**
 * Canonical JSON of what is stored. Throws RangeError for what has no form that every reader agrees on: besides what
 * JSON cannot hold, integers above 2^53 - 1 and nesting deeper than 64.
 */
export function canonicalJson(value: Json): string {
  refuseDisputed(value, 0);
  return textOf(value);
}

function refuseDisputed(value: Json, depth: number): void {
  if (depth > DEPTH_MAX) throw new RangeError(`nested deeper than ${DEPTH_MAX}`);
  // From 1e21 on a number is written with an exponent and stays a float for every reader.
  const isDisputed = typeof value === "number" && Number.isInteger(value) && Math.abs(value) < 1e21;
  if (isDisputed && !Number.isSafeInteger(value))
    throw new RangeError(`${value} is above 2^53 - 1`);
  if (typeof value !== "object" || value === null) return;
  for (const item of Object.values(value)) refuseDisputed(item, depth + 1);
}

/** The value whose canonical form is exactly this text, or why it is none. */
export function parseCanonical(
  text: string,
): { readonly ok: true; readonly value: Json } | { readonly ok: false; readonly why: string } {
  try {
    const value = JSON.parse(text) as Json;
    // Also finds duplicate keys, other spellings of a number, white space: a flipped bit that keeps the meaning.
    if (canonicalJson(value) !== text) return { ok: false, why: "not in canonical form" };
    return { ok: true, value };
  } catch (reason) {
    return {
      ok: false,
      why: `not JSON: ${reason instanceof Error ? reason.message : String(reason)}`,
    };
  }
}

/** True for an object that is neither null nor a list. */
export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !isList(value);
}

/** Array.isArray does not narrow readonly arrays. */
export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}
