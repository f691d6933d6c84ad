import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ControlPlaneConfig } from "@shardwright/control-plane/build";
import { CheckpointServiceClient, JobServiceClient, JobServiceService } from "@shardwright/proto";
import { bearerAuth } from "@shardwright/service/auth";
import { createHealth } from "@shardwright/service/health";
import { createLog } from "@shardwright/service/log";
import { closeInReverse } from "@shardwright/service/parts";
import { connect } from "@shardwright/service/rpc-client";
import { serverStream, startRpcServer, unary } from "@shardwright/service/rpc-server";
import { expect, it } from "vitest";
import { type BuildControlPlane, type ComposeOptions, compose } from "./compose.ts";

const TOKEN = "sk-sw-0123456789abcdef";
const log = createLog({ service: "test", version: "0", level: "silent" });

function options(): ComposeOptions {
  const dataDir = mkdtempSync(join(tmpdir(), "shardctl-compose-"));
  return { dataDir, python: "python3", token: TOKEN, port: 0, metricsPort: 0, log };
}

/** A control plane that knows no jobs; what it was told is kept. */
function aControlPlane(told: ControlPlaneConfig[]): BuildControlPlane {
  return async (config) => {
    told.push(config);
    const drain = new AbortController();
    const none = unary(async () => ({ jobs: [], nextPageToken: "", revision: 0n }));
    const streams = new Set(["watchJobs", "streamLogs", "watchEvents"]);
    const nothing = serverStream(drain.signal, async function* () {
      await new Promise<void>((resolve) => {
        drain.signal.addEventListener("abort", () => resolve(), { once: true });
      });
      yield* [];
    });
    const names = Object.keys(JobServiceService);
    const implementation = Object.fromEntries(
      names.map((name) => [name, streams.has(name) ? nothing : none]),
    );
    const services = [
      {
        definition: JobServiceService,
        implementation: implementation as never,
        authenticate: bearerAuth(config.token),
      },
    ];
    const server = await startRpcServer({ listen: config.listen, services, drain });
    return { address: server.address, parts: [server], health: createHealth() };
  };
}

it("opens every door on loopback, each wanting the token, and closes them all", async () => {
  const told: ControlPlaneConfig[] = [];
  const made = await compose(options(), aControlPlane(told));
  for (const address of [made.address, made.checkpointAddress, made.metricsAddress]) {
    expect(address).toMatch(/^127\.0\.0\.1:[1-9]\d*$/);
  }
  expect(told[0]?.checkpointAddress).toBe(made.checkpointAddress);

  const ask = (token: string | undefined): Promise<unknown> => {
    const checkpoints = connect(CheckpointServiceClient, made.checkpointAddress, token);
    return checkpoints
      .call(
        (client) => client.listCheckpoints,
        { tenant: "default", run: "" },
        { deadlineMs: 5_000 },
      )
      .finally(() => checkpoints.close());
  };
  expect(await ask(TOKEN)).toMatchObject({ checkpoints: [] });
  await expect(ask(undefined)).rejects.toMatchObject({ kind: "unauthenticated" });
  const jobs = connect(JobServiceClient, made.address, "sk-sw-another-token-here");
  const asked = jobs.call(
    (client) => client.getJob,
    { tenant: "default", name: "a" },
    { deadlineMs: 5_000 },
  );
  await expect(asked).rejects.toMatchObject({ kind: "unauthenticated" });
  jobs.close();
  const metrics = (headers: Record<string, string>): Promise<Response> =>
    fetch(`http://${made.metricsAddress}/metrics`, { headers });
  expect((await metrics({})).status).toBe(401);
  const page = await metrics({ authorization: `Bearer ${TOKEN}` });
  expect(page.status).toBe(200);
  expect(await page.text()).toContain("process_cpu_seconds_total");

  expect(await closeInReverse(made.parts, 10_000, Date.now)).toEqual([]);
  await expect(fetch(`http://${made.metricsAddress}/metrics`)).rejects.toThrow();
});

it("closes what is open when a later service cannot start", async () => {
  let checkpointAddress = "";
  const broken: BuildControlPlane = async (config) => {
    checkpointAddress = config.checkpointAddress;
    throw new Error("the journal is of a newer version");
  };
  await expect(compose(options(), broken)).rejects.toThrow("the journal is of a newer version");
  const checkpoints = connect(CheckpointServiceClient, checkpointAddress, TOKEN);
  const asked = checkpoints.call(
    (client) => client.listCheckpoints,
    { tenant: "", run: "" },
    { deadlineMs: 2_000 },
  );
  await expect(asked).rejects.toMatchObject({ kind: "unavailable" });
  checkpoints.close();
});
