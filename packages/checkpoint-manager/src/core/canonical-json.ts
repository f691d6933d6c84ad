/** What JSON can carry. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** Deeper objects are an attack, not a checkpoint. */
const DEPTH_MAX = 64;

/**
 * RFC 8785 canonical JSON: keys by UTF-16 code unit, numbers as ECMAScript writes them, no white space.
 * Throws RangeError for what has no canonical form that every reader agrees on: NaN, infinities, integers
 * above 2^53 - 1, lone surrogates, nesting deeper than 64.
 */
export function canonicalJson(value: Json, depth = 0): string {
  if (depth > DEPTH_MAX) throw new RangeError(`nested deeper than ${DEPTH_MAX}`);
  if (typeof value === "string") return canonicalString(value);
  if (typeof value === "number") return canonicalNumber(value);
  if (value === null || typeof value === "boolean") return String(value);
  if (isList(value)) return `[${value.map((item) => canonicalJson(item, depth + 1)).join(",")}]`;
  const fields = Object.keys(value)
    .sort()
    .map((key) => `${canonicalString(key)}:${canonicalJson(value[key] ?? null, depth + 1)}`);
  return `{${fields.join(",")}}`;
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

function canonicalString(text: string): string {
  if (!text.isWellFormed()) throw new RangeError("a string has a lone surrogate");
  return JSON.stringify(text);
}

function canonicalNumber(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is not a number of JSON`);
  // From 1e21 on a number is written with an exponent and stays a float for every reader.
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21) {
    throw new RangeError(`${value} is above 2^53 - 1`);
  }
  return JSON.stringify(value);
}
