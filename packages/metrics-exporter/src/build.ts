import { JobServiceClient } from "@shardwright/proto";
import { bearerAuth } from "@shardwright/service/auth";
import { type Clock, systemClock } from "@shardwright/service/clock";
import { createHealth, type Health } from "@shardwright/service/health";
import { startHttpServer } from "@shardwright/service/http-server";
import type { Log } from "@shardwright/service/log";
import type { Meter } from "@shardwright/service/meter";
import type { Part } from "@shardwright/service/parts";
import { connect } from "@shardwright/service/rpc-client";
import { createBoard } from "./board.ts";
import { collect } from "./collect.ts";
import { expose } from "./expose.ts";

export interface MetricsExporterConfig {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly controlPlaneAddress: string;
  /** Sent to the control plane, and wanted from who scrapes; null only with `--insecure-no-auth` on loopback. */
  readonly token: string | null;
  readonly tenants: readonly string[];
  readonly version: string;
  readonly log: Log;
  /** Meters of services in the same process, shown on the same page. */
  readonly alsoRender?: readonly Meter[];
  readonly clock?: Clock;
}

export interface MetricsExporter {
  /** `host:port` of /metrics and /healthz. */
  readonly address: string;
  readonly parts: readonly Part[];
  readonly health: Health;
}

/** The exporter, listening and collecting; closing its parts in reverse ends it. */
export async function buildMetricsExporter(
  config: MetricsExporterConfig,
): Promise<MetricsExporter> {
  const clock = config.clock ?? systemClock;
  const { controlPlaneAddress, token, version, log } = config;
  const board = createBoard(clock.now);
  const health = createHealth();
  // 1. The page first: a taken port must not leave collectors behind.
  const server = await startHttpServer({
    listen: config.listen,
    authenticate: token === null ? "open" : bearerAuth(token),
    health,
    pages: [expose({ board, version, alsoRender: config.alsoRender ?? [] })],
  });
  // 2. One watch per tenant.
  const connection = connect(JobServiceClient, controlPlaneAddress, token ?? undefined);
  const stop = new AbortController();
  const watches = config.tenants.map((tenant) =>
    collect({ connection, tenant, board, clock, log, signal: stop.signal }),
  );
  const collector: Part = {
    name: "collector",
    close: async () => {
      stop.abort();
      await Promise.all(watches);
      connection.close();
    },
  };
  health.ready();
  return { address: server.address, parts: [collector, server], health };
}
