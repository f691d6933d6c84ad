import { listenAddress, readEnvironment, readSecretFile, z } from "@shardwright/service/config";

/** What the process needs from its environment; the defaults stand here only. */
export interface CheckpointManagerSettings {
  readonly listen: string;
  /** Absolute folder that holds one folder per run. */
  readonly root: string;
  readonly token: string;
  readonly python: string;
  readonly pythonPath: string;
  readonly saveDeadlineMs: number;
  readonly readerGraceMs: number;
  readonly drainTimeoutMs: number;
  readonly logLevel: "debug" | "info" | "warn" | "error";
}

/** A save of the largest states to the slowest store takes minutes; longer, and somebody must look. */
export const SAVE_DEADLINE_MS = 30 * 60_000;
/** Longer than any reader holds a checkpoint open. */
export const READER_GRACE_MS = 60 * 60_000;

const milliseconds = z.coerce
  .number()
  .int()
  .positive()
  .max(7 * 86_400_000);
const Env = z.strictObject({
  SHARDWRIGHT_CHECKPOINT_LISTEN: listenAddress.default("127.0.0.1:7071"),
  SHARDWRIGHT_CHECKPOINT_ROOT: z.string().startsWith("/", "expected an absolute path"),
  SHARDWRIGHT_TOKEN_FILE: z.string().min(1),
  SHARDWRIGHT_PYTHON: z.string().min(1).default("python3"),
  SHARDWRIGHT_PYTHON_PATH: z.string().default(""),
  SHARDWRIGHT_SAVE_DEADLINE_MS: milliseconds.default(SAVE_DEADLINE_MS),
  SHARDWRIGHT_READER_GRACE_MS: milliseconds.default(READER_GRACE_MS),
  SHARDWRIGHT_DRAIN_TIMEOUT_MS: milliseconds.default(25_000),
  SHARDWRIGHT_LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]).default("info"),
});

/** Reads SHARDWRIGHT_* and the token file; one error names everything that is wrong. */
export function readConfig(environment: NodeJS.ProcessEnv): CheckpointManagerSettings {
  const read = readEnvironment(Env, environment);
  return {
    listen: read.SHARDWRIGHT_CHECKPOINT_LISTEN,
    root: read.SHARDWRIGHT_CHECKPOINT_ROOT,
    token: readSecretFile(read.SHARDWRIGHT_TOKEN_FILE),
    python: read.SHARDWRIGHT_PYTHON,
    pythonPath: read.SHARDWRIGHT_PYTHON_PATH,
    saveDeadlineMs: read.SHARDWRIGHT_SAVE_DEADLINE_MS,
    readerGraceMs: read.SHARDWRIGHT_READER_GRACE_MS,
    drainTimeoutMs: read.SHARDWRIGHT_DRAIN_TIMEOUT_MS,
    logLevel: read.SHARDWRIGHT_LOG_LEVEL,
  };
}
