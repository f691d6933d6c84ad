import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ControlPlane, ControlPlaneConfig } from "@shardwright/control-plane/build";
import type { Health } from "@shardwright/service/health";
import type { Log } from "@shardwright/service/log";
import { closeInReverse, type Part } from "@shardwright/service/parts";
import { VERSION } from "../version.ts";
import { trainerPath } from "./python.ts";

export interface ComposeOptions {
  readonly dataDir: string;
  /** The trainer's interpreter. */
  readonly python: string;
  /** Wanted at every door of ours, and shown at every door by us. */
  readonly token: string;
  /** Of JobService; 0 takes the one of the last time in this data directory, else a free one. */
  readonly port: number;
  readonly metricsPort: number;
  /** A rank that was not heard for so long hangs [ms]; absent = 30 s. */
  readonly hangMs?: number;
  /** How long a member that was asked to leave waits for somebody to take over [ms]; null or absent = the agent's own. */
  readonly leaveGraceMs?: number | null;
  readonly log: Log;
}

export interface Composed {
  /** `host:port` of JobService and AgentService. */
  readonly address: string;
  readonly checkpointAddress: string;
  readonly metricsAddress: string;
  /** In the order they were opened; close them in reverse. */
  readonly parts: readonly Part[];
  readonly health: Health;
}

/** How the control plane is made; `up` takes the real one. */
export type BuildControlPlane = (config: ControlPlaneConfig) => Promise<ControlPlane>;

// Everything of this machine stays on this machine.
const LOOPBACK = "127.0.0.1";
// For closing what is open when a later service cannot start.
const CLOSE_MS = 10_000;

const theControlPlane: BuildControlPlane = async (config) => {
  const { buildControlPlane } = await import("@shardwright/control-plane/build");
  return await buildControlPlane(config);
};

/**
 * The services of one machine in one process. Composed, not merged: they speak gRPC over loopback, with the same
 * authentication and the same faults as in a cluster. When one cannot start, those before it are closed.
 */
export async function compose(
  options: ComposeOptions,
  buildControlPlane: BuildControlPlane = theControlPlane,
): Promise<Composed> {
  const { dataDir, python, token, log } = options;
  const opened: Part[] = [];
  const open = <T extends { readonly parts: readonly Part[] }>(service: T): T => {
    opened.push(...service.parts);
    return service;
  };
  try {
    const [{ buildCheckpointManager }, { buildMetricsExporter }, { createMeter }, { rpcMeter }] =
      await Promise.all([
        import("@shardwright/checkpoint-manager/build"),
        import("@shardwright/metrics-exporter/build"),
        import("@shardwright/service/meter"),
        import("@shardwright/service/rpc-meter"),
      ]);
    const meter = createMeter({ process: true });
    const root = join(dataDir, "checkpoints");
    mkdirSync(root, { recursive: true, mode: 0o700 });
    // 1. Checkpoints first: the control plane decides undecided saves when it starts.
    const checkpoints = open(
      await buildCheckpointManager({
        listen: `${LOOPBACK}:0`,
        root,
        token,
        python,
        pythonPath: trainerPath(),
        log: log.child({ part: "checkpoint-manager" }),
        watcher: rpcMeter(meter),
      }),
    );
    // 2. The control plane: replays its journal, then listens.
    const controlPlane = open(
      await buildControlPlane({
        listen: `${LOOPBACK}:${options.port}`,
        dataDirectory: dataDir,
        token,
        checkpointAddress: checkpoints.address,
        python,
        pythonPath: trainerPath(),
        version: VERSION,
        log: log.child({ part: "control-plane" }),
        meter,
        ...(options.hangMs === undefined ? {} : { hangMs: options.hangMs }),
        leaveGraceMs: options.leaveGraceMs ?? null,
      }),
    );
    // 3. Who watches it.
    const metrics = open(
      await buildMetricsExporter({
        listen: `${LOOPBACK}:${options.metricsPort}`,
        controlPlaneAddress: controlPlane.address,
        token,
        tenants: ["default"],
        version: VERSION,
        log: log.child({ part: "metrics-exporter" }),
        alsoRender: [meter],
      }),
    );
    return {
      address: controlPlane.address,
      checkpointAddress: checkpoints.address,
      metricsAddress: metrics.address,
      parts: opened,
      health: controlPlane.health,
    };
  } catch (error) {
    await closeInReverse(opened, CLOSE_MS, Date.now);
    throw error;
  }
}
