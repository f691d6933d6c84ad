import { listenAddress, readEnvironment, readSecretFile, z } from "@shardwright/service/config";

/** What the process needs from its environment; the defaults stand here only. */
export interface MetricsExporterSettings {
  readonly listen: string;
  readonly controlPlaneAddress: string;
  readonly token: string;
  readonly tenants: readonly string[];
  readonly drainTimeoutMs: number;
  readonly logLevel: "debug" | "info" | "warn" | "error";
}

const Env = z.strictObject({
  SHARDWRIGHT_METRICS_LISTEN: listenAddress.default("127.0.0.1:9464"),
  SHARDWRIGHT_CONTROL_PLANE_ADDRESS: listenAddress.default("127.0.0.1:7070"),
  SHARDWRIGHT_TOKEN_FILE: z.string().min(1),
  SHARDWRIGHT_TENANTS: z.string().min(1).default("default"),
  SHARDWRIGHT_DRAIN_TIMEOUT_MS: z.coerce.number().int().positive().max(86_400_000).default(25_000),
  SHARDWRIGHT_LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]).default("info"),
});

/** Reads SHARDWRIGHT_* and the token file; one error names everything that is wrong. */
export function readConfig(environment: NodeJS.ProcessEnv): MetricsExporterSettings {
  const read = readEnvironment(Env, environment);
  return {
    listen: read.SHARDWRIGHT_METRICS_LISTEN,
    controlPlaneAddress: read.SHARDWRIGHT_CONTROL_PLANE_ADDRESS,
    token: readSecretFile(read.SHARDWRIGHT_TOKEN_FILE),
    tenants: read.SHARDWRIGHT_TENANTS.split(",").map((tenant) => tenant.trim()),
    drainTimeoutMs: read.SHARDWRIGHT_DRAIN_TIMEOUT_MS,
    logLevel: read.SHARDWRIGHT_LOG_LEVEL,
  };
}
