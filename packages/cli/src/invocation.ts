import { EXIT, type ExitCode, Refusal } from "./exit.ts";
import type { Io } from "./io.ts";
import { parseDuration } from "./render/duration.ts";
import type { Settings } from "./settings.ts";

/** One call of one verb. */
export interface Invocation {
  readonly args: readonly string[];
  readonly flags: Flags;
  readonly settings: Settings;
  readonly io: Io;
}

/** What a file of `commands/` exports as `run`. */
export type Run = (call: Invocation) => Promise<ExitCode>;

/** Typed look-ups in what commander parsed; a malformed value is a Refusal that names the flag. */
export interface Flags {
  on(name: string): boolean;
  /** `--no-NAME` was given. */
  off(name: string): boolean;
  text(name: string): string | undefined;
  list(name: string): readonly string[];
  /** A whole number ≥ 0. */
  count(name: string): number | undefined;
  /** Milliseconds. */
  duration(name: string): number | undefined;
}

/** `values` by the camel-cased long name, as commander's `opts()` gives them. */
export function flagsOf(values: Readonly<Record<string, unknown>>): Flags {
  const text = (name: string): string | undefined => {
    const value = values[camelCase(name)];
    return typeof value === "string" ? value : undefined;
  };
  return {
    on: (name) => values[camelCase(name)] === true,
    off: (name) => values[camelCase(name)] === false,
    text,
    list: (name) => {
      const value = values[camelCase(name)];
      return Array.isArray(value) ? value.map(String) : [];
    },
    count: (name) => {
      const value = text(name);
      if (value === undefined) return undefined;
      if (/^\d{1,15}$/.test(value)) return Number(value);
      throw new Refusal(EXIT.usage, `--${name} ${value}: expected a whole number`);
    },
    duration: (name) => {
      const value = text(name);
      if (value === undefined) return undefined;
      const ms = parseDuration(value);
      if (ms !== null) return ms;
      throw new Refusal(
        EXIT.usage,
        `--${name} ${value}: expected a duration such as 30s, 10m or 1h30m`,
      );
    },
  };
}

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** `NAME`, `job/NAME`, `finetunejob.shardwright.dev/NAME` → NAME. Two words are one by now: `job-words.ts`. */
export function jobName(reference: string | undefined, usage: string): string {
  if (reference === undefined) throw new Refusal(EXIT.usage, "which job?", { next: usage });
  const slash = reference.lastIndexOf("/");
  const kind = slash < 0 ? "job" : reference.slice(0, slash);
  const name = reference.slice(slash + 1);
  if (!isJobKind(kind)) {
    throw new Refusal(EXIT.usage, `"${kind}" is not a job`, {
      why: "expected NAME, job/NAME or job NAME",
      next: usage,
    });
  }
  if (!isJobName(name)) {
    throw new Refusal(EXIT.usage, `"${name}" is not a job name`, {
      why: "names are lower-case letters, digits and dashes, and begin with a letter",
      next: usage,
    });
  }
  return name;
}

/** Whether a job can be called so. */
export function isJobName(name: string): boolean {
  return /^[a-z]([a-z0-9-]*[a-z0-9])?$/.test(name);
}

/** The kind's spellings, as in kubectl. */
export function isJobKind(kind: string): boolean {
  return /^(jobs?|ftj|finetunejobs?(\.shardwright\.dev)?)$/.test(kind);
}
