import { createLog } from "@shardwright/service/log";
import { createMeter } from "@shardwright/service/meter";
import { runService } from "@shardwright/service/run-service";
import { versionOf } from "@shardwright/service/version";
import { buildControlPlane } from "./build.ts";
import { readConfig } from "./config.ts";

// Time for a load balancer to notice that we are going.
const ENDPOINT_PAUSE_MS = 2_000;

const version = versionOf(import.meta.url);
const { storeUrl, ranksMax, ...config } = readConfig(process.env);
const log = createLog({ service: "control-plane", version, level: config.logLevel });
const { parts, health, address } = await buildControlPlane({
  ...config,
  ...(storeUrl === null ? {} : { storeUrl }),
  ...(ranksMax === null ? {} : { ranksMax }),
  version,
  log,
  meter: createMeter({ process: true }),
});
log.info({ address }, "jobs are served");
const late = await runService({
  parts,
  health,
  log,
  endpointPauseMs: ENDPOINT_PAUSE_MS,
  drainTimeoutMs: config.drainTimeoutMs,
});
process.exit(late.length === 0 ? 0 : 1);
