import { listenAddress, readEnvironment, readSecretFile, z } from "@shardwright/service/config";

/** What the process needs from its environment; the defaults stand here only. */
export interface ControlPlaneSettings {
  readonly listen: string;
  readonly dataDirectory: string;
  readonly token: string;
  readonly checkpointAddress: string;
  readonly python: string;
  readonly pythonPath: string;
  readonly storeUrl: string | null;
  readonly ranksMax: number | null;
  readonly drainTimeoutMs: number;
  readonly logLevel: "debug" | "info" | "warn" | "error";
}

// More ranks than this on one machine only take turns.
const RANKS_LIMIT = 1_024;

const Env = z.strictObject({
  SHARDWRIGHT_LISTEN: listenAddress.default("127.0.0.1:7070"),
  SHARDWRIGHT_DATA_DIR: z.string().startsWith("/", "expected an absolute path"),
  SHARDWRIGHT_TOKEN_FILE: z.string().min(1),
  SHARDWRIGHT_CHECKPOINT_ADDRESS: listenAddress.default("127.0.0.1:7071"),
  SHARDWRIGHT_PYTHON: z.string().min(1).default("python3"),
  SHARDWRIGHT_PYTHON_PATH: z.string().default(""),
  SHARDWRIGHT_STORE_URL: z.url({ protocol: /^postgres(ql)?$/ }).optional(),
  SHARDWRIGHT_RANKS_MAX: z.coerce.number().int().positive().max(RANKS_LIMIT).optional(),
  SHARDWRIGHT_DRAIN_TIMEOUT_MS: z.coerce.number().int().positive().max(86_400_000).default(25_000),
  SHARDWRIGHT_LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]).default("info"),
});

/** Reads SHARDWRIGHT_* and the token file; one error names everything that is wrong. */
export function readConfig(environment: NodeJS.ProcessEnv): ControlPlaneSettings {
  const read = readEnvironment(Env, environment);
  return {
    listen: read.SHARDWRIGHT_LISTEN,
    dataDirectory: read.SHARDWRIGHT_DATA_DIR,
    token: readSecretFile(read.SHARDWRIGHT_TOKEN_FILE),
    checkpointAddress: read.SHARDWRIGHT_CHECKPOINT_ADDRESS,
    python: read.SHARDWRIGHT_PYTHON,
    pythonPath: read.SHARDWRIGHT_PYTHON_PATH,
    storeUrl: read.SHARDWRIGHT_STORE_URL ?? null,
    ranksMax: read.SHARDWRIGHT_RANKS_MAX ?? null,
    drainTimeoutMs: read.SHARDWRIGHT_DRAIN_TIMEOUT_MS,
    logLevel: read.SHARDWRIGHT_LOG_LEVEL,
  };
}
