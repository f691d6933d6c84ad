import { createLog } from "@shardwright/service/log";
import { runService } from "@shardwright/service/run-service";
import { versionOf } from "@shardwright/service/version";
import { buildCheckpointManager } from "./build.ts";
import { readConfig } from "./config.ts";

// Time for a load balancer to notice that we are going.
const ENDPOINT_PAUSE_MS = 2_000;

const version = versionOf(import.meta.url);
const config = readConfig(process.env);
const log = createLog({ service: "checkpoint-manager", version, level: config.logLevel });
const { parts, health, address } = await buildCheckpointManager({ ...config, log });
log.info({ address, root: config.root }, "checkpoints are served");
const late = await runService({
  parts,
  health,
  log,
  endpointPauseMs: ENDPOINT_PAUSE_MS,
  drainTimeoutMs: config.drainTimeoutMs,
});
process.exit(late.length === 0 ? 0 : 1);
