/** What decoded YAML or JSON may be at all, before anybody looks for fields in it. */
import type { Complaint } from "./faults.ts";
import {
  COMPLAINTS_MAX,
  DEPTH_MAX,
  KEYS_MAX,
  LIST_ENTRIES_MAX,
  QUOTE_CHARACTERS_MAX,
} from "./limits.ts";
import { quoted } from "./units.ts";

/** Keys that mean something to JavaScript's objects: they never come from a person with good intentions. */
const FORBIDDEN_KEYS: readonly string[] = ["__proto__", "constructor", "prototype"];

/** NUL and the other control characters, tab, line feed and carriage return left out. */
const CONTROL = /[^\P{Cc}\t\n\r]/u;

/**
 * Everything that makes a decoded value unfit to be read: nesting beyond DEPTH_MAX, objects of more than
 * KEYS_MAX keys, lists of more than LIST_ENTRIES_MAX entries, forbidden keys, numbers that are not finite,
 * values that JSON cannot hold, text with control characters or lone surrogates. Empty when it is fit.
 * `path` is where the value stands ("" = the document).
 */
export function checkPlainValue(value: unknown, path = ""): Complaint[] {
  const complaints: Complaint[] = [];
  visit(value, path, { complaints, ancestors: [] });
  return complaints;
}

interface Walk {
  readonly complaints: Complaint[];
  readonly ancestors: object[];
}

function visit(value: unknown, path: string, walk: Walk): void {
  if (walk.complaints.length >= COMPLAINTS_MAX) return;
  const problem = problemOfScalar(value);
  if (problem !== null) {
    walk.complaints.push({ path, problem });
    return;
  }
  if (typeof value === "object" && value !== null) visitObject(value, path, walk);
}

function problemOfScalar(value: unknown): string | null {
  switch (typeof value) {
    case "number":
      return Number.isFinite(value) ? null : `is ${value}; numbers must be finite`;
    case "string":
      return problemOfText(value);
    case "boolean":
    case "object":
      return null;
    case "bigint":
      return "is an integer beyond 2^53; numbers must be exact in JSON";
    default:
      return `is of type ${typeof value}; expected text, a number, true, false, a list or an object`;
  }
}

/** null when the text is fit to be stored and shown. */
export function problemOfText(text: string): string | null {
  if (!text.isWellFormed()) return "holds a lone surrogate; text must be valid Unicode";
  return CONTROL.test(text) ? "holds a control character; remove it" : null;
}

function visitObject(value: object, path: string, walk: Walk): void {
  const problem = problemOfContainer(value, walk);
  if (problem !== null) {
    walk.complaints.push({ path, problem });
    return;
  }
  walk.ancestors.push(value);
  if (Array.isArray(value)) {
    value.forEach((entry: unknown, index) => {
      visit(entry, `${path}[${index}]`, walk);
    });
  } else {
    for (const [key, entry] of Object.entries(value)) visitEntry(key, entry, { path, walk });
  }
  walk.ancestors.pop();
}

function problemOfContainer(value: object, walk: Walk): string | null {
  if (walk.ancestors.includes(value)) return "contains itself";
  if (walk.ancestors.length >= DEPTH_MAX) return `is nested deeper than ${DEPTH_MAX} levels`;
  if (Array.isArray(value)) {
    return value.length > LIST_ENTRIES_MAX
      ? `has ${value.length} entries, at most ${LIST_ENTRIES_MAX} are allowed`
      : null;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    return "is not a plain value; expected text, a number, true, false, a list or an object";
  }
  const count = Object.keys(value).length;
  return count > KEYS_MAX ? `has ${count} keys, at most ${KEYS_MAX} are allowed` : null;
}

function visitEntry(key: string, entry: unknown, at: { path: string; walk: Walk }): void {
  const shown = quoted(key, QUOTE_CHARACTERS_MAX);
  const path = joinPath(at.path, shown);
  if (FORBIDDEN_KEYS.includes(key)) {
    at.walk.complaints.push({ path, problem: "is not allowed as a key" });
    return;
  }
  const problem = problemOfText(key);
  if (problem !== null) at.walk.complaints.push({ path, problem: `key ${problem}` });
  else visit(entry, path, at.walk);
}

/** `spec` and `train` → `spec.train`; keys that are no names are written in brackets. */
export function joinPath(path: string, key: string): string {
  if (!/^[A-Za-z_][\w-]*$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === "" ? key : `${path}.${key}`;
}
