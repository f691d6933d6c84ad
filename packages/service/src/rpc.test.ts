import { getEventListeners } from "node:events";
import { status } from "@grpc/grpc-js";
import { Fault } from "@shardwright/job/faults";
import {
  AgentServiceClient,
  AgentServiceService,
  type GetJobRequest,
  GetJobResponse,
  JobServiceClient,
  type JobServiceServer,
  JobServiceService,
  SessionRequest,
  SessionResponse,
  WatchJobsResponse,
} from "@shardwright/proto";
import { afterEach, expect, test } from "vitest";
import { bearerAuth } from "./auth.ts";
import { createMeter } from "./meter.ts";
import { connect } from "./rpc-client.ts";
import { rpcMeter } from "./rpc-meter.ts";
import {
  type Caller,
  duplex,
  type RpcServer,
  type RpcWatcher,
  serverStream,
  startRpcServer,
  unary,
} from "./rpc-server.ts";

const TOKEN = "0123456789abcdef-token";
const open: { close(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const part of open.splice(0).reverse()) await part.close();
});

/** A JobService that answers two of its methods; the others are not implemented. */
async function serve(
  handlers: {
    get?: (request: GetJobRequest, caller: Caller) => Promise<GetJobResponse>;
    watch?: (caller: Caller) => AsyncIterable<WatchJobsResponse>;
  },
  options: {
    watcher?: RpcWatcher;
    drain?: AbortController;
    shutdownMs?: number;
    onInternal?: (path: string, fault: Fault) => void;
  } = {},
): Promise<RpcServer> {
  const drain = options.drain ?? new AbortController();
  const none = unary(async () => Promise.reject(new Error("not in this test")));
  const implementation = Object.fromEntries(
    Object.keys(JobServiceService).map((name) => [name, none]),
  ) as unknown as JobServiceServer;
  const server = await startRpcServer({
    listen: "127.0.0.1:0",
    drain,
    shutdownMs: options.shutdownMs ?? 2_000,
    ...(options.watcher === undefined ? {} : { watcher: options.watcher }),
    ...(options.onInternal === undefined ? {} : { onInternal: options.onInternal }),
    services: [
      {
        definition: JobServiceService,
        authenticate: bearerAuth(TOKEN),
        implementation: {
          ...implementation,
          getJob: unary(handlers.get ?? (async () => GetJobResponse.create())),
          watchJobs: serverStream(drain.signal, (_, caller) => (handlers.watch ?? idle)(caller)),
        },
      },
    ],
  });
  open.push(server);
  return server;
}

async function* idle(): AsyncGenerator<WatchJobsResponse> {}

function client(server: RpcServer, token: string | undefined = TOKEN) {
  const connection = connect(JobServiceClient, server.address, token);
  open.push(connection);
  return connection;
}

const LOOK = { tenant: "default", name: "a" };
const SOON = { deadlineMs: 5_000 };

test("a fault keeps its kind, message and complaints over the wire", async () => {
  const complaints = [{ path: "spec.tuning.r", problem: "must be at least 1" }];
  const server = await serve({
    get: async () => Promise.reject(new Fault("invalid", "the job is wrong", { complaints })),
  });
  const failure = await client(server)
    .call((jobs) => jobs.getJob, LOOK, SOON)
    .catch((reason: unknown) => reason);
  expect(failure).toBeInstanceOf(Fault);
  expect(failure).toMatchObject({ kind: "invalid", message: "the job is wrong", complaints });
});

test("ten thousand complaints arrive shortened, with the number of missing ones", async () => {
  const complaints = Array.from({ length: 10_000 }, (_, i) => ({
    path: `line ${i}`,
    problem: "é",
  }));
  const server = await serve({
    get: async () => Promise.reject(new Fault("invalid", "bad", { complaints })),
  });
  const failure = (await client(server)
    .call((jobs) => jobs.getJob, LOOK, SOON)
    .catch((reason: unknown) => reason)) as Fault;
  const last = failure.complaints.at(-1);
  expect(failure.kind).toBe("invalid");
  expect(last?.problem).toBe(`and ${10_000 - (failure.complaints.length - 1)} more`);
});

test("a bug shows as internal error; its text goes to the log and nowhere else", async () => {
  const logged: string[] = [];
  const bug = async (): Promise<never> => Promise.reject(new Error("secret path"));
  const server = await serve(
    {
      get: bug,
      // biome-ignore lint/correctness/useYield: it fails before it has anything to say
      watch: async function* () {
        await bug();
      },
    },
    { onInternal: (path, fault) => logged.push(`${path}: ${String(fault.cause)}`) },
  );
  const outside = { kind: "internal", message: "internal error" };
  const jobs = client(server);
  await expect(jobs.call((service) => service.getJob, LOOK, SOON)).rejects.toMatchObject(outside);
  const watch = jobs.stream((service) => service.watchJobs, { ...LOOK, revision: 0n });
  await expect(watch.next()).rejects.toMatchObject(outside);
  expect(logged).toEqual([
    "/shardwright.v1.JobService/GetJob: Error: secret path",
    "/shardwright.v1.JobService/WatchJobs: Error: secret path",
  ]);
});

test("the meter counts calls, streams and refusals", async () => {
  const meter = createMeter();
  const server = await serve({ watch: idle }, { watcher: rpcMeter(meter) });
  await client(server).call((jobs) => jobs.getJob, LOOK, SOON);
  for await (const _ of client(server).stream((jobs) => jobs.watchJobs, { ...LOOK, revision: 0n }));
  await connectAs("wrong-token-wrong-token", server)
    .call((jobs) => jobs.getJob, LOOK, SOON)
    .catch(() => undefined);
  const labels = (method: string) =>
    `grpc_service="shardwright.v1.JobService",grpc_method="${method}"`;
  await expect
    .poll(() => meter.render())
    .toContain(`shardwright_grpc_streams{${labels("WatchJobs")}} 0`);
  const text = await meter.render();
  expect(text).toContain(`handled_total{${labels("GetJob")},grpc_code="OK"} 1`);
  expect(text).toContain(`handled_total{${labels("GetJob")},grpc_code="UNAUTHENTICATED"} 1`);
  expect(text).toContain(`handling_seconds_count{${labels("GetJob")}} 2`);
  expect(text).toContain('shardwright_auth_refusals_total{reason="unauthenticated"} 1');
});

function connectAs(token: string, server: RpcServer) {
  const connection = connect(JobServiceClient, server.address, token);
  open.push(connection);
  return connection;
}

test.each([undefined, "wrong-token-wrong-token"])(
  "token %s is refused on unary and stream",
  async (token) => {
    const server = await serve({});
    const connection = connect(JobServiceClient, server.address, token);
    open.push(connection);
    const refusal = { kind: "unauthenticated" };
    await expect(connection.call((jobs) => jobs.getJob, LOOK, SOON)).rejects.toMatchObject(refusal);
    const read = async (): Promise<void> => {
      for await (const _ of connection.stream((jobs) => jobs.watchJobs, { ...LOOK, revision: 0n }));
    };
    await expect(read()).rejects.toMatchObject(refusal);
  },
);

test("a unary call without a deadline is refused", async () => {
  const server = await serve({});
  const raw = client(server);
  await expect(
    raw.call((jobs) => jobs.getJob, LOOK, { deadlineMs: Number.POSITIVE_INFINITY }),
  ).rejects.toMatchObject({ kind: "invalid" });
});

test("an unreachable server is unavailable and names the address", async () => {
  const connection = connect(JobServiceClient, "127.0.0.1:1", TOKEN);
  open.push(connection);
  await expect(connection.call((jobs) => jobs.getJob, LOOK, SOON)).rejects.toMatchObject({
    kind: "unavailable",
    message: expect.stringContaining("cannot reach 127.0.0.1:1"),
  });
});

test("a stream that waits ends cleanly at drain, and leaves no listener behind", async () => {
  const drain = new AbortController();
  const server = await serve(
    {
      watch: async function* (caller) {
        yield WatchJobsResponse.create({ change: "bookmark", revision: 7n });
        await new Promise((resolve) => caller.signal.addEventListener("abort", resolve));
      },
    },
    { drain },
  );
  const seen: bigint[] = [];
  const stream = client(server).stream((jobs) => jobs.watchJobs, { ...LOOK, revision: 0n });
  for await (const { revision } of stream) {
    seen.push(revision);
    void server.close();
  }
  expect(seen).toEqual([7n]);
  expect(getEventListeners(drain.signal, "abort")).toHaveLength(0);
});

test("leaving the loop cancels the call on the server", async () => {
  let hungUp: (() => void) | undefined;
  const seen = new Promise<void>((resolve) => {
    hungUp = resolve;
  });
  const server = await serve({
    watch: async function* (caller) {
      caller.signal.addEventListener("abort", () => hungUp?.());
      for (;;) {
        yield WatchJobsResponse.create({ change: "bookmark" });
        await new Promise((resolve) => setTimeout(resolve, 1));
        if (caller.signal.aborted) return;
      }
    },
  });
  for await (const _ of client(server).stream((jobs) => jobs.watchJobs, { ...LOOK, revision: 0n }))
    break;
  await seen;
});

test("every call is reported once, with its code", async () => {
  const ended: [string, boolean, status][] = [];
  const server = await serve(
    { get: async () => Promise.reject(new Fault("not_found", "no")), watch: idle },
    {
      watcher: {
        started: () => undefined,
        ended: (path, streams, { code }) => ended.push([path, streams, code]),
      },
    },
  );
  await client(server)
    .call((jobs) => jobs.getJob, LOOK, SOON)
    .catch(() => undefined);
  for await (const _ of client(server).stream((jobs) => jobs.watchJobs, { ...LOOK, revision: 0n }));
  await expect.poll(() => ended.length).toBe(2);
  expect(ended).toEqual([
    ["/shardwright.v1.JobService/GetJob", false, status.NOT_FOUND],
    ["/shardwright.v1.JobService/WatchJobs", true, status.OK],
  ]);
});

test("a duplex stream echoes, ends with the peer, and an idle one ends at drain", async () => {
  const drain = new AbortController();
  const ends: string[] = [];
  const server = await startRpcServer({
    listen: "127.0.0.1:0",
    drain,
    services: [
      {
        definition: AgentServiceService,
        authenticate: bearerAuth(TOKEN),
        implementation: {
          session: duplex<SessionRequest, SessionResponse>(
            drain.signal,
            async function* (requests) {
              for await (const { generation } of requests)
                yield SessionResponse.create({ generation });
              ends.push("end");
            },
          ),
        },
      },
    ],
  });
  open.push(server);
  const connection = connect(AgentServiceClient, server.address, TOKEN);
  open.push(connection);
  const first = connection.duplex((agents) => agents.session);
  for (const generation of [1n, 2n, 3n]) first.send(SessionRequest.create({ generation }));
  first.end();
  const echoed: bigint[] = [];
  for await (const { generation } of first.responses) echoed.push(generation);
  expect(echoed).toEqual([1n, 2n, 3n]);

  const idleSession = connection.duplex((agents) => agents.session);
  idleSession.send(SessionRequest.create({ generation: 4n }));
  for await (const _ of idleSession.responses) void server.close();
  expect(ends).toEqual(["end", "end"]);
});

test("a listener that others can reach needs authentication", async () => {
  const drain = new AbortController();
  const services = [
    { definition: AgentServiceService, authenticate: "open" as const, implementation: {} },
  ];
  await expect(startRpcServer({ listen: "0.0.0.0:8443", drain, services })).rejects.toThrow(
    "refusing to listen on 0.0.0.0:8443 without authentication; set auth.mode or bind 127.0.0.1",
  );
});
