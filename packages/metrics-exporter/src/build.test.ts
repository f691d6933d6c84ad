import { setTimeout as sleep } from "node:timers/promises";
import { type JobView, jobToWire } from "@shardwright/job";
import {
  JobServiceService,
  ListMembersResponse,
  Member,
  type WatchJobsRequest,
  WatchJobsResponse,
} from "@shardwright/proto";
import { bearerAuth } from "@shardwright/service/auth";
import { createLog } from "@shardwright/service/log";
import { createMeter } from "@shardwright/service/meter";
import { closeInReverse } from "@shardwright/service/parts";
import {
  type RpcServer,
  serverStream,
  startRpcServer,
  unary,
} from "@shardwright/service/rpc-server";
import { afterEach, expect, test } from "vitest";
import { aJob, aRunningJob } from "../../../test/support/job-builder.ts";
import { buildMetricsExporter, type MetricsExporter } from "./build.ts";

const TOKEN = "a-token-of-enough-length";
const log = createLog({ service: "test", version: "0", level: "silent" });

let server: RpcServer | undefined;
let exporter: MetricsExporter | undefined;
afterEach(async () => {
  await closeInReverse(exporter?.parts ?? [], 2_000, Date.now);
  await server?.close();
});

/** A control plane that knows these jobs; `changes` are sent after the bookmark, then the stream stays open. */
async function controlPlane(jobs: readonly JobView[], changes: readonly WatchJobsResponse[] = []) {
  const drain = new AbortController();
  const none = unary(async () => Promise.reject(new Error("not in this test")));
  server = await startRpcServer({
    listen: "127.0.0.1:0",
    drain,
    shutdownMs: 500,
    services: [
      {
        definition: JobServiceService,
        authenticate: bearerAuth(TOKEN),
        implementation: {
          ...Object.fromEntries(Object.keys(JobServiceService).map((name) => [name, none])),
          watchJobs: serverStream<WatchJobsRequest, WatchJobsResponse>(
            drain.signal,
            async function* (_, caller) {
              for (const job of jobs) yield change("added", job);
              yield WatchJobsResponse.create({ change: "bookmark", revision: 1n });
              yield* changes;
              await sleep(60_000, undefined, { signal: caller.signal }).catch(() => undefined);
            },
          ),
          listMembers: unary(async () =>
            ListMembersResponse.create({
              members: [Member.create({ name: "a-m0", node: "here" })],
            }),
          ),
        },
      },
    ],
  });
  return server.address;
}

const change = (kind: string, job: JobView) =>
  WatchJobsResponse.create({ change: kind, job: jobToWire(job), revision: 2n });

async function start(controlPlaneAddress: string): Promise<() => Promise<string>> {
  const meter = createMeter({ process: true });
  meter.observe("shardwright_journal_append_duration_seconds", {}, 0.001);
  exporter = await buildMetricsExporter({
    listen: "127.0.0.1:0",
    controlPlaneAddress,
    token: TOKEN,
    tenants: ["default"],
    version: "1.2.3",
    log,
    alsoRender: [meter],
  });
  const { address } = exporter;
  return async () => {
    const headers = { authorization: `Bearer ${TOKEN}` };
    const response = await fetch(`http://${address}/metrics`, { headers });
    expect(response.status).toBe(200);
    return await response.text();
  };
}

test("a job of the watch appears on /metrics with its members, beside the meters of the process", async () => {
  const scrape = await start(await controlPlane([aRunningJob(), aJob({ name: "waiting" })]));
  await expect.poll(scrape).toContain('member="a-m0"');
  const text = await scrape();
  expect(text).toContain('shardwright_train_loss{job_namespace="default",job_name="a"} 1.5');
  expect(text).toContain(
    'shardwright_job_state{job_namespace="default",job_name="waiting",state="queued"} 1',
  );
  expect(text).toContain('shardwright_build_info{version="1.2.3"} 1');
  expect(text).toContain("shardwright_journal_append_duration_seconds_count 1");
  expect(text).toContain("process_cpu_seconds_total");
  const families = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  expect(new Set(families).size).toBe(families.length);
});

test("the newest view wins", async () => {
  const running = aRunningJob();
  const progress = running.status.progress;
  if (progress === null) throw new Error("a running job has progress");
  const later = {
    ...running,
    status: { ...running.status, progress: { ...progress, step: 8, loss: 1.25 } },
  };
  const scrape = await start(await controlPlane([running], [change("modified", later)]));
  await expect
    .poll(scrape)
    .toContain('shardwright_job_step{job_namespace="default",job_name="a"} 8');
});

test("without a control plane the page is there, and the exporter still closes", async () => {
  const scrape = await start("127.0.0.1:1");
  expect(await scrape()).toContain("shardwright_build_info");
  expect(await closeInReverse(exporter?.parts ?? [], 2_000, Date.now)).toEqual([]);
});

test("nobody without the token reads the metrics", async () => {
  await start(await controlPlane([]));
  const response = await fetch(`http://${exporter?.address}/metrics`);
  expect(response.status).toBe(401);
  expect(await response.text()).not.toContain("shardwright_build_info");
});
