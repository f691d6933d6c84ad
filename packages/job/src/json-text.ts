/**
 * JSON text → value, with faults described in the words of Python's `json` module: trainers, hosted services
 * and we then say the same of the same line. The fast path is JSON.parse; the scanner runs on faults only.
 */
import { DEPTH_MAX, KEYS_MAX } from "./limits.ts";

/** A value, or what is wrong with the text. */
export type JsonReading =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problem: string };

/** Reads one JSON text; numbers beyond range, deep nesting and very wide objects are refused too. */
export function readJson(text: string): JsonReading {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { ok: false, problem: describeFault(text) };
  }
  const problem = problemOfValue(value, 1);
  return problem === null ? { ok: true, value } : { ok: false, problem };
}

/** Bounds that JSON itself does not have. */
function problemOfValue(value: unknown, depth: number): string | null {
  if (typeof value === "number") return Number.isFinite(value) ? null : "a number is not finite";
  if (typeof value !== "object" || value === null) return null;
  if (depth > DEPTH_MAX) return "nested too deeply";
  const entries: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
  if (!Array.isArray(value) && entries.length > KEYS_MAX) {
    return `an object has ${entries.length} keys, at most ${KEYS_MAX} are allowed`;
  }
  for (const entry of entries) {
    const problem = problemOfValue(entry, depth + 1);
    if (problem !== null) return problem;
  }
  return null;
}

/** Recursion of the scanner; JSON.parse itself has no such bound. */
const SCAN_DEPTH_MAX = 500;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;
const CONSTANTS = ["NaN", "Infinity", "-Infinity"] as const;
const LITERALS = ["null", "true", "false"] as const;

/** A fault found by the scanner; `at` is null where the text of Python has no position. */
class JsonFault extends Error {
  readonly at: number | null;
  constructor(message: string, at: number | null) {
    super(message);
    this.at = at;
  }
}

function describeFault(text: string): string {
  try {
    const end = skipSpace(text, scanValue(text, skipSpace(text, 0), 0));
    if (end < text.length) throw new JsonFault("Extra data", end);
    return "it cannot be read";
  } catch (fault) {
    if (!(fault instanceof JsonFault)) throw fault;
    return fault.at === null ? fault.message : `${fault.message}: ${placeOf(text, fault.at)}`;
  }
}

/** Positions count characters, not UTF-16 units, as Python does. */
function placeOf(text: string, at: number): string {
  const before = text.slice(0, at);
  const lines = before.split("\n");
  const column = characters(lines.at(-1) ?? "") + 1;
  return `line ${lines.length} column ${column} (char ${characters(before)})`;
}

/** Characters of a text as Python counts them. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

function skipSpace(text: string, at: number): number {
  SPACE.lastIndex = at;
  SPACE.test(text);
  return SPACE.lastIndex;
}

function scanValue(text: string, at: number, depth: number): number {
  if (depth > SCAN_DEPTH_MAX) throw new JsonFault("nested too deeply", null);
  const first = text[at];
  if (first === '"') return scanString(text, at);
  if (first === "{") return scanObject(text, at, depth);
  if (first === "[") return scanArray(text, at, depth);
  const literal = LITERALS.find((word) => text.startsWith(word, at));
  if (literal !== undefined) return at + literal.length;
  const constant = CONSTANTS.find((word) => text.startsWith(word, at));
  if (constant !== undefined) throw new JsonFault(`${constant} is not JSON`, null);
  NUMBER.lastIndex = at;
  if (NUMBER.test(text)) return NUMBER.lastIndex;
  throw new JsonFault("Expecting value", at);
}

function scanObject(text: string, open: number, depth: number): number {
  let at = skipSpace(text, open + 1);
  if (text[at] === "}") return at + 1;
  for (;;) {
    if (text[at] !== '"') {
      throw new JsonFault("Expecting property name enclosed in double quotes", at);
    }
    at = skipSpace(text, scanString(text, at));
    if (text[at] !== ":") throw new JsonFault("Expecting ':' delimiter", at);
    at = skipSpace(text, scanValue(text, skipSpace(text, at + 1), depth + 1));
    if (text[at] === "}") return at + 1;
    if (text[at] !== ",") throw new JsonFault("Expecting ',' delimiter", at);
    at = skipSpace(text, at + 1);
  }
}

function scanArray(text: string, open: number, depth: number): number {
  let at = skipSpace(text, open + 1);
  if (text[at] === "]") return at + 1;
  for (;;) {
    at = skipSpace(text, scanValue(text, at, depth + 1));
    if (text[at] === "]") return at + 1;
    if (text[at] !== ",") throw new JsonFault("Expecting ',' delimiter", at);
    at = skipSpace(text, at + 1);
  }
}

function scanString(text: string, open: number): number {
  let at = open + 1;
  for (;;) {
    const character = text[at];
    if (character === undefined) throw new JsonFault("Unterminated string starting at", open);
    if (character === '"') return at + 1;
    if (character < " ") throw new JsonFault("Invalid control character at", at);
    at = character === "\\" ? scanEscape(text, at, open) : at + 1;
  }
}

function scanEscape(text: string, backslash: number, open: number): number {
  const letter = text[backslash + 1];
  if (letter === undefined) throw new JsonFault("Unterminated string starting at", open);
  if (letter !== "u") {
    if (!'"\\/bfnrt'.includes(letter)) throw new JsonFault("Invalid \\escape", backslash);
    return backslash + 2;
  }
  if (!/^[0-9a-fA-F]{4}$/.test(text.slice(backslash + 2, backslash + 6))) {
    throw new JsonFault("Invalid \\uXXXX escape", backslash + 1);
  }
  return backslash + 6;
}

/**
 * Column, from 1, of the first character in JSON text that is NUL or half a surrogate pair, written out or
 * escaped; null when there is none.
 */
export function unpairedSurrogate(text: string): number | null {
  // Nearly every line has neither escapes nor halves: three native searches instead of a loop.
  if (text.isWellFormed() && !text.includes("\\u") && !text.includes("\0")) return null;
  let at = 0;
  while (at < text.length) {
    const unit = unitAt(text, at);
    if (unit.code === 0 || isLow(unit.code)) return columnOf(text, at);
    if (isHigh(unit.code)) {
      const low = unitAt(text, at + unit.length);
      if (!isLow(low.code)) return columnOf(text, at);
      at += low.length;
    }
    at += unit.length;
  }
  return null;
}

function isHigh(code: number): boolean {
  return code >= 0xd800 && code < 0xdc00;
}

function isLow(code: number): boolean {
  return code >= 0xdc00 && code < 0xe000;
}

/** Stands for escapes that are no unit, such as \\n: any code that is neither NUL nor half a pair. */
const OTHER_ESCAPE = { code: 32, length: 2 };

/** The UTF-16 unit that stands at a place, escaped or not. */
function unitAt(text: string, at: number): { readonly code: number; readonly length: number } {
  if (text[at] !== "\\") return { code: text.charCodeAt(at), length: 1 };
  const digits = /^u([0-9a-fA-F]{4})/.exec(text.slice(at + 1, at + 6))?.[1];
  return digits === undefined ? OTHER_ESCAPE : { code: Number.parseInt(digits, 16), length: 6 };
}

/** Columns count characters; half a pair counts as one. */
function columnOf(text: string, at: number): number {
  return characters(text.slice(0, at)) + 1;
}
