/** Reads single fields of a config.json and collects what is wrong with them. */
import type { Complaint } from "@shardwright/job";

/** Larger than any model's field, small enough that products of two stay safe integers. */
const FIELD_MAX = 2 ** 26;

export interface ConfigFields {
  readonly complaints: Complaint[];
  /** A positive whole number; `fallback` answers for a field that is absent or null. */
  count(name: string, fallback?: number): number;
  /** A positive whole number, or null where the field is absent or null. */
  optionalCount(name: string): number | null;
  flag(name: string, fallback: boolean): boolean;
  text(name: string): string | null;
  optionalNumber(name: string): number | null;
}

export function configFields(config: Readonly<Record<string, unknown>>): ConfigFields {
  const complaints: Complaint[] = [];
  const complain = (path: string, problem: string): void => {
    complaints.push({ path, problem });
  };
  const optionalCount = (name: string): number | null => {
    const value = config[name] ?? null;
    if (value === null) return null;
    if (Number.isInteger(value) && Number(value) > 0 && Number(value) <= FIELD_MAX) {
      return Number(value);
    }
    complain(name, `must be a whole number from 1 to ${FIELD_MAX}, got ${shown(value)}`);
    return null;
  };
  return {
    complaints,
    optionalCount,
    count(name, fallback) {
      const value = optionalCount(name) ?? fallback;
      if (value === undefined && (config[name] ?? null) === null) {
        complain(name, "is missing; it must be a whole number of at least 1");
      }
      return value ?? 1;
    },
    flag(name, fallback) {
      const value = config[name] ?? fallback;
      if (typeof value === "boolean") return value;
      complain(name, `must be true or false, got ${shown(value)}`);
      return fallback;
    },
    text(name) {
      const value = config[name] ?? null;
      if (value === null || typeof value === "string") return value;
      complain(name, `must be a string, got ${shown(value)}`);
      return null;
    },
    optionalNumber(name) {
      const value = config[name] ?? null;
      if (value === null || (typeof value === "number" && Number.isFinite(value))) return value;
      complain(name, `must be a number, got ${shown(value)}`);
      return null;
    },
  };
}

/** A value as a person may read it in one line, cut where a hostile file is long. */
export function shown(value: unknown): string {
  const text = typeof value === "object" && value !== null ? kindOf(value) : String(value);
  return typeof value === "string" ? `"${text.slice(0, 40)}"` : text.slice(0, 40);
}

function kindOf(value: object): string {
  return Array.isArray(value) ? "a list" : "an object";
}
