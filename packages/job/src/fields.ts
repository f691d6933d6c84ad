/**
 * Readers: from a plain value to a field, every complaint with its path. A reader that complains still returns
 * a value of its type, so that reading goes on; the whole result is thrown away when anything was complained of.
 */
import type { Complaint } from "./faults.ts";
import { COMPLAINTS_MAX, LIST_ENTRIES_MAX, QUOTE_CHARACTERS_MAX } from "./limits.ts";
import { nearestName } from "./nearest.ts";
import { joinPath } from "./plain-value.ts";
import { quoted } from "./units.ts";

/** Collects what is wrong. */
export interface Report {
  readonly complaints: Complaint[];
  readonly warnings: string[];
}

/** Where a value stands. */
export interface Place {
  readonly path: string;
  readonly report: Report;
}

/** `null` and `undefined` are the absent value. */
export type Reader<T> = (value: unknown, at: Place) => T;

/** Notes what is wrong at a place; beyond COMPLAINTS_MAX nothing more is noted. */
export function complain(at: Place, problem: string): void {
  if (at.report.complaints.length < COMPLAINTS_MAX) {
    at.report.complaints.push({ path: at.path, problem });
  }
}

/** The place of a field below. */
export function below(at: Place, key: string): Place {
  return { path: joinPath(at.path, key), report: at.report };
}

/** True when the field at `path`, or one below it, was complained of: rules over several fields then stay silent. */
export function isBad(report: Report, path: string): boolean {
  return report.complaints.some(
    (complaint) =>
      complaint.path === path ||
      complaint.path.startsWith(`${path}.`) ||
      complaint.path.startsWith(`${path}[`),
  );
}

/** How a value is named in a complaint: `the text "abc"`, `a list`, `12`. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (typeof value === "string") return `the text "${quoted(value, QUOTE_CHARACTERS_MAX)}"`;
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : String(value);
}

function isAbsent(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

/** Absent → `otherwise`; the defaults themselves stand in defaults.ts. */
export function optional<T, O>(reader: Reader<T>, otherwise: O): Reader<T | O> {
  return (value, at) => (isAbsent(value) ? otherwise : reader(value, at));
}

/** Absent is a complaint that says what to write. */
export function required<T>(reader: Reader<T>, example: string): Reader<T> {
  return (value, at) => {
    if (!isAbsent(value)) return reader(value, at);
    complain(at, `is required, for example ${example}`);
    return reader(undefined, { path: at.path, report: { complaints: [], warnings: [] } });
  };
}

/** Both ends included. */
export interface Range {
  readonly min: number;
  readonly max: number;
  /** What is counted, for the complaint: `rows`. */
  readonly of?: string;
}

/** A whole number in a range; text that looks like one is refused with a hint. */
export function integer(range: Range): Reader<number> {
  return (value, at) => {
    if (typeof value === "number" && Number.isInteger(value) && within(value, range)) return value;
    complain(at, `must be a whole number${bounds(range)}, got ${shown(value)}${unquote(value)}`);
    return range.min;
  };
}

/** With `above`, the lower bound itself is refused. */
export function real(range: Range & { readonly above?: true }): Reader<number> {
  return (value, at) => {
    const fits = typeof value === "number" && within(value, range);
    if (fits && !(range.above && value === range.min)) return value;
    const words = range.above ? ` above ${range.min} and at most ${range.max}` : bounds(range);
    complain(at, `must be a number${words}, got ${shown(value)}${unquote(value)}`);
    return range.max;
  };
}

function within(value: number, range: Range): boolean {
  return value >= range.min && value <= range.max;
}

function bounds(range: Range): string {
  return `${range.of ? ` of ${range.of}` : ""} from ${range.min} to ${range.max}`;
}

function unquote(value: unknown): string {
  const isNumber =
    typeof value === "string" && value.trim() !== "" && Number.isFinite(Number(value));
  return isNumber ? "; write it without quotes" : "";
}

/** true or false, nothing that only looks like it. */
export const flag: Reader<boolean> = (value, at) => {
  if (typeof value === "boolean") return value;
  complain(at, `must be true or false, got ${shown(value)}`);
  return false;
};

/** Text of 1 to `charactersMax` characters. */
export function text(charactersMax: number): Reader<string> {
  return (value, at) => {
    if (typeof value !== "string") {
      complain(at, `must be text, got ${shown(value)}`);
      return "";
    }
    if (value === "") complain(at, "is empty; leave it out or give it a value");
    else if (value.length > charactersMax) {
      complain(at, `has ${value.length} characters, at most ${charactersMax} are allowed`);
    }
    return value;
  };
}

/** One word of a closed list. `later` holds words we know and refuse: the sentence says what to use instead. */
export function oneOf<const T extends string>(
  words: readonly [T, ...T[]],
  later: Readonly<Record<string, string>> = {},
): Reader<T> {
  return (value, at) => {
    const word = words.find((candidate) => candidate === value);
    if (word !== undefined) return word;
    const refusal = typeof value === "string" && Object.hasOwn(later, value) ? later[value] : null;
    if (refusal) complain(at, `"${String(value)}" is not supported in this release; ${refusal}`);
    else complain(at, `must be ${alternatives(words)}, got ${shown(value)}${hint(value, words)}`);
    return words[0];
  };
}

function alternatives(words: readonly string[]): string {
  const last = words.at(-1);
  return words.length === 1 ? `${last}` : `${words.slice(0, -1).join(", ")} or ${last}`;
}

function hint(value: unknown, words: readonly string[]): string {
  const near = typeof value === "string" ? nearestName(value, words) : null;
  return near === null ? "" : `; did you mean "${near}"?`;
}

/** A list whose entries are all read; a bad entry has its own path. */
export function listOf<T>(reader: Reader<T>, entriesMax: number = LIST_ENTRIES_MAX): Reader<T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) {
      complain(at, `must be a list, got ${shown(value)}`);
      return [];
    }
    if (value.length > entriesMax) {
      complain(at, `has ${value.length} entries, at most ${entriesMax} are allowed`);
      return [];
    }
    return value.map((entry: unknown, index) =>
      reader(entry, { path: `${at.path}[${index}]`, report: at.report }),
    );
  };
}

/** The value as an object with own keys; null, with a complaint, when it is something else. */
export function asObject(value: unknown, at: Place): Readonly<Record<string, unknown>> | null {
  if (isAbsent(value)) return {};
  if (typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  complain(at, `must be an object, got ${shown(value)}`);
  return null;
}

/** A reader for each field. */
export type Readers<T> = { readonly [K in keyof T]-?: Reader<T[K]> };

/** Fields that an object may have besides the ones that are read. */
export interface ObjectRules {
  /** Fields of the full product that this release refuses, and what to do instead. */
  readonly later?: Readonly<Record<string, string>>;
  /** Fields that a server adds to what it gives out; they are read over. */
  readonly ignored?: readonly string[];
}

/** An object with exactly these fields; absent = all of its fields absent. */
export function object<T extends object>(readers: Readers<T>, rules: ObjectRules = {}): Reader<T> {
  const known = Object.keys(readers);
  return (value, at) => {
    const source = asObject(value, at);
    // A wrong type is one complaint, not one more for each required field inside.
    const place = source ? at : { path: at.path, report: { complaints: [], warnings: [] } };
    for (const key of Object.keys(source ?? {})) {
      if (known.includes(key) || rules.ignored?.includes(key)) continue;
      if (!isAbsent(source?.[key])) complainOfUnknown(key, known, { at: below(at, key), rules });
    }
    const entries = known.map((key) => {
      const reader = readers[key as keyof T] as Reader<unknown>;
      const field = source && Object.hasOwn(source, key) ? source[key] : undefined;
      return [key, reader(field, below(place, key))];
    });
    return Object.fromEntries(entries) as T;
  };
}

function complainOfUnknown(
  key: string,
  known: readonly string[],
  where: { readonly at: Place; readonly rules: ObjectRules },
): void {
  const later = where.rules.later ?? {};
  if (Object.hasOwn(later, key)) {
    complain(where.at, `is not supported in this release; ${later[key]}`);
    return;
  }
  const near = nearestName(key, known);
  complain(
    where.at,
    near === null
      ? `unknown field; known here: ${known.join(", ")}`
      : `unknown field; did you mean "${near}"?`,
  );
}
