import type { ExitCode } from "./exit.ts";
import type { Run } from "./invocation.ts";

/** A flag as commander takes it, and what it is for. */
export interface FlagSpec {
  /** `-o, --output <format>`; `<…>` takes a value, `<…...>` several. */
  readonly flags: string;
  readonly help: string;
  readonly choices?: readonly string[];
  /** Refused when absent. */
  readonly required?: boolean;
}

/** One verb: what `--help` and the reference say of it, and where its code is. Cheap to make: nothing is loaded. */
export interface Verb {
  /** `["get"]`, or `["checkpoints", "verify"]`. */
  readonly path: readonly string[];
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** Positional arguments as commander takes them: `<kind>`, `[name]`, `[words...]`. */
  readonly args: readonly string[];
  readonly flags: readonly FlagSpec[];
  readonly examples: readonly string[];
  /** Codes it may end with, besides those every verb may (0, 1, 2, 130). */
  readonly exits: readonly ExitCode[];
  /** Arguments that look like flags are left to the verb. */
  readonly passThrough?: boolean;
  /** The verb handles SIGINT and SIGTERM itself. */
  readonly ownsSignals?: boolean;
  readonly hidden?: boolean;
  load(): Promise<{ readonly run: Run }>;
}

export const GLOBAL_FLAGS: readonly FlagSpec[] = [
  {
    flags: "--data-dir <dir>",
    help: "data directory of the local control plane (SHARDWRIGHT_DATA_DIR)",
  },
  { flags: "--server <host:port>", help: "control plane to call (SHARDWRIGHT_ADDRESS)" },
  { flags: "--token-file <file>", help: "file that holds the bearer token" },
  { flags: "-n, --namespace <name>", help: "tenant of the job" },
  { flags: "--request-timeout <duration>", help: "longest wait for one answer (default 30s)" },
  { flags: "--no-color", help: "no colours (also NO_COLOR)" },
  { flags: "--no-input", help: "never ask" },
  { flags: "--yes", help: "answer every question with yes" },
  { flags: "-v, --verbosity <level>", help: "0 to 9; stack traces from 6" },
];

/** Flags of verbs that print objects. */
export const OUTPUT_FLAGS: readonly FlagSpec[] = [
  { flags: "-o, --output <format>", help: "table, wide, json, yaml, name or jsonpath=TEMPLATE" },
  { flags: "--no-headers", help: "a table without its first line" },
];
