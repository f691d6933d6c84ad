import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault, jobFromWire, planFromWire } from "@shardwright/job";
import { JobServiceClient, JobServiceService } from "@shardwright/proto";
import { localSnapshot } from "@shardwright/scheduler";
import { bearerAuth } from "@shardwright/service/auth";
import { systemClock } from "@shardwright/service/clock";
import { type Connection, connect } from "@shardwright/service/rpc-client";
import { type RpcServer, startRpcServer } from "@shardwright/service/rpc-server";
import { afterEach, beforeEach, expect, test } from "vitest";
import { putJob } from "../desired/local.ts";
import { planFor } from "../plan-facts.ts";
import type { JobRecord } from "../ports.ts";
import type { Journal } from "../store/journal.ts";
import { createMemoryJournal } from "../store/memory.ts";
import { jobService } from "./job-service.ts";

const TOKEN = "a-token-of-enough-length";
const SOON = { deadlineMs: 10_000 };
let directory: string;
let journal: Journal;
let server: RpcServer;
let client: Connection<JobServiceClient>;
let controlled: string[];
let machineBytes: number;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "shardwright-jobs-"));
  machineBytes = 8 * 1024 ** 3;
  makeModel();
  writeFileSync(join(directory, "train.jsonl"), rows(12));
  journal = createMemoryJournal(Date.now);
  controlled = [];
  const drain = new AbortController();
  const implementation = jobService({
    jobs: journal,
    history: journal,
    changes: journal,
    clock: systemClock,
    drain: drain.signal,
    control: {
      wake: (uid) => void controlled.push(`wake ${uid}`),
      cancel: async (uid) => void controlled.push(`cancel ${uid}`),
      scale: async (uid) => void controlled.push(`scale ${uid}`),
      remove: async (uid, checkpoints) => {
        controlled.push(`remove ${uid}${checkpoints ? " with its checkpoints" : ""}`);
        await journal.remove(uid);
      },
    },
    logsDirectory: (uid) => join(directory, "runs", uid, "logs"),
    plan: (tenant, document) => {
      const machine = { name: "here", slots: 2, memoryBytes: machineBytes };
      return planFor(document, { tenant, jobs: journal, cluster: localSnapshot(machine) });
    },
    putJob: (request) => putJob(journal, request, Date.now()),
  });
  const service = {
    definition: JobServiceService,
    implementation,
    authenticate: bearerAuth(TOKEN),
  };
  server = await startRpcServer({
    listen: "127.0.0.1:0",
    drain,
    services: [service],
    shutdownMs: 1_000,
  });
  client = connect(JobServiceClient, server.address, TOKEN);
});
afterEach(async () => {
  client.close();
  await server.close();
  rmSync(directory, { recursive: true });
});

function makeModel(): void {
  const model = join(directory, "model");
  mkdirSync(model);
  const config = {
    model_type: "llama",
    num_hidden_layers: 2,
    hidden_size: 64,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 128,
    vocab_size: 256,
    max_position_embeddings: 512,
  };
  writeFileSync(join(model, "config.json"), JSON.stringify(config));
  writeFileSync(join(model, "tokenizer.json"), "{}");
  const header = Buffer.from("{}");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(join(model, "model.safetensors"), Buffer.concat([length, header]));
}

function rows(count: number): string {
  return Array.from({ length: count }, (_, i) =>
    JSON.stringify({
      messages: [
        { role: "user", content: `question ${i}` },
        { role: "assistant", content: `answer ${i}` },
      ],
    }),
  ).join("\n");
}

function text(name = "a", spec: object = {}): string {
  return JSON.stringify({
    apiVersion: "shardwright.dev/v1alpha1",
    kind: "FineTuneJob",
    metadata: { name },
    spec: {
      model: { source: `file://${directory}/model` },
      data: { train: { source: `file://${directory}/train.jsonl` } },
      train: { batchSize: 4 },
      ...spec,
    },
  });
}

const submit = (
  documentJson: string,
  more: { requestId?: string; dryRun?: boolean; tenant?: string } = {},
) =>
  client.call(
    (jobs) => jobs.submitJob,
    { requestId: "", tenant: "", dryRun: false, documentJson, ...more },
    SOON,
  );

async function refusal(work: Promise<unknown>): Promise<Fault> {
  const reason = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  if (!(reason instanceof Fault)) throw new Error(`expected a Fault, got ${String(reason)}`);
  return reason;
}

async function recordOf(name = "a"): Promise<JobRecord> {
  const record = await journal.find("default", name);
  if (record === null) throw new Error(`job ${name} must be there`);
  return record;
}

test("a job is planned, stored, woken and read back as it was submitted", async () => {
  const { job, outcome } = await submit(text());
  expect(outcome).toBe("created");
  const view = jobFromWire(job as NonNullable<typeof job>);
  expect(view.status.plan).toMatchObject({ fits: true });
  expect(controlled).toEqual([`wake ${view.uid}`]);
  const got = await client.call((jobs) => jobs.getJob, { tenant: "default", name: "a" }, SOON);
  expect(got.job).toEqual(job);
});

test("the same document, and the same request, again create nothing", async () => {
  const first = await submit(text(), { requestId: "r1" });
  expect(await submit(text(), { requestId: "r1" })).toEqual(first);
  expect(await submit(text(), { requestId: "r2" })).toMatchObject({ outcome: "unchanged" });
  expect((await refusal(submit(text("a", { priority: 3 })))).kind).toBe("conflict");
  expect(controlled).toHaveLength(2); // the repeated request may have died before it woke anybody
  const outcomes = await Promise.all(
    ["b", "b", "b"].map(async (name) => (await submit(text(name))).outcome),
  );
  expect(outcomes.sort()).toEqual(["created", "unchanged", "unchanged"]);
});

test("a dry run says what would be, and stores nothing", async () => {
  const { job, outcome } = await submit(text(), { dryRun: true });
  expect(outcome).toBe("created");
  expect(jobFromWire(job as NonNullable<typeof job>).status.reason.code).toBe("DryRun");
  expect(await journal.find("default", "a")).toBeNull();
  expect(controlled).toEqual([]);
});

test.each<[string, () => string, RegExp]>([
  ["no JSON", () => "{", /is not JSON/],
  ["a list", () => "[]", /a job is an object/],
  ["a field that does not exist", () => text("a", { trian: 1 }), /trian/],
  ["a prototype key", () => text("a").replace('"kind"', '"__proto__": {}, "kind"'), /__proto__/],
  ["a document above the limit", () => `"${"x".repeat(1024 * 1024)}"`, /at most 1048576/],
])("%s is invalid, and nothing is stored", async (_, document, expected) => {
  const fault = await refusal(submit(document()));
  expect(fault.kind).toBe("invalid");
  expect(fault.complaints.map(({ path, problem }) => `${path} ${problem}`).join("\n")).toMatch(
    expected,
  );
  expect(await journal.list({ tenant: null, afterName: "", limit: 9 })).toEqual([]);
});

test("problems of model and data come together, with file and line", async () => {
  rmSync(join(directory, "model", "model.safetensors"));
  writeFileSync(join(directory, "train.jsonl"), `${rows(11)}\n{"messages": 3}\n{oops\n`);
  const fault = await refusal(submit(text()));
  expect(fault.kind).toBe("invalid");
  const places = fault.complaints.map(({ path }) => path);
  expect(places).toContain(`${directory}/model`);
  expect(places).toContain(`${directory}/train.jsonl line 12`);
  expect(places).toContain(`${directory}/train.jsonl line 13`);
});

test.each([
  ["absent", "does not exist"],
  ["model", "train.jsonl does not exist"],
  ["data.parquet", "must end in .jsonl"],
])("data at %s is a complaint about spec.data.train.source", async (name, expected) => {
  writeFileSync(join(directory, "data.parquet"), "PAR1");
  const data = { train: { source: `file://${directory}/${name}` } };
  const fault = await refusal(submit(text("a", { data })));
  expect(fault.complaints[0]?.path).toBe("spec.data.train.source");
  expect(fault.complaints[0]?.problem).toContain(expected);
});

test("compressed data under a text name is refused", async () => {
  writeFileSync(join(directory, "train.jsonl"), Buffer.from([0x1f, 0x8b, 8, 0, 0, 0]));
  const fault = await refusal(submit(text()));
  expect(fault.complaints[0]?.problem).toContain("is gzip, which is not read");
});

test("a job that does not fit is refused with the path plan; PlanJob answers with what was tried", async () => {
  machineBytes = 1_000_000;
  const fault = await refusal(submit(text()));
  expect(fault.kind).toBe("conflict");
  expect(fault.complaints[0]?.path).toBe("plan");
  expect(await journal.find("default", "a")).toBeNull();
  const { plan } = await client.call(
    (jobs) => jobs.planJob,
    { tenant: "", documentJson: text() },
    SOON,
  );
  const view = planFromWire(plan as NonNullable<typeof plan>);
  expect(view.fits).toBe(false);
  expect(view.explanation).toHaveLength(1);
  expect(await journal.list({ tenant: null, afterName: "", limit: 9 })).toEqual([]);
});

test("other tenants' jobs do not exist: not in get, lists, watches or events", async () => {
  await submit(text("a"), { tenant: "other" });
  const where = { tenant: "", name: "a" };
  expect((await refusal(client.call((jobs) => jobs.getJob, where, SOON))).kind).toBe("not_found");
  expect(
    (await refusal(client.call((jobs) => jobs.cancelJob, { ...where, requestId: "" }, SOON))).kind,
  ).toBe("not_found");
  const list = await client.call(
    (jobs) => jobs.listJobs,
    { tenant: "", pageToken: "", pageSize: 0 },
    SOON,
  );
  expect(list.jobs).toEqual([]);
  for await (const message of client.stream((jobs) => jobs.watchJobs, {
    tenant: "",
    name: "",
    revision: 0n,
  })) {
    expect(message.change).toBe("bookmark");
    break;
  }
  const events = { tenant: "", jobName: "", follow: false, afterSequence: 0n };
  for await (const event of client.stream((jobs) => jobs.watchEvents, events))
    expect(event).toBeUndefined();
});

test("a list comes in pages", async () => {
  for (const name of ["a", "b", "c"]) await submit(text(name));
  const first = await client.call(
    (jobs) => jobs.listJobs,
    { tenant: "", pageToken: "", pageSize: 2 },
    SOON,
  );
  expect(first.jobs.map(({ name }) => name)).toEqual(["a", "b"]);
  const request = { tenant: "", pageToken: first.nextPageToken, pageSize: 2 };
  const second = await client.call((jobs) => jobs.listJobs, request, SOON);
  expect(second.jobs.map(({ name }) => name)).toEqual(["c"]);
  expect(second.nextPageToken).toBe("");
});

test("a watch shows what is, then what changes, and goes on from its revision without a gap", async () => {
  await submit(text("a"));
  const watch = client.stream((jobs) => jobs.watchJobs, { tenant: "", name: "", revision: 0n });
  const next = async () =>
    (await watch.next()).value as Awaited<ReturnType<typeof watch.next>>["value"] & object;
  expect(await next()).toMatchObject({ change: "added", job: { name: "a" } });
  expect(await next()).toMatchObject({ change: "bookmark" });
  await submit(text("b"));
  expect(await next()).toMatchObject({ change: "added", job: { name: "b" } });
  const { state, status, uid, revision } = await recordOf("a");
  const changed = {
    uid,
    expect: revision,
    state,
    status,
    finishedMs: null,
    events: [],
    generation: null,
  };
  await journal.save(changed);
  const last = await next();
  expect(last).toMatchObject({ change: "modified", job: { name: "a" } });
  await watch.return();

  await journal.remove((await recordOf("b")).uid);
  const resumed = client.stream((jobs) => jobs.watchJobs, {
    tenant: "",
    name: "",
    revision: last.revision,
  });
  expect((await resumed.next()).value).toMatchObject({ change: "deleted" });
  expect((await resumed.next()).value).toMatchObject({ change: "bookmark" });
  await journal.remove(uid);
  expect((await resumed.next()).value).toMatchObject({ change: "deleted", job: { name: "a" } });
  await resumed.return();
});

test("watches end cleanly when the server drains", async () => {
  await submit(text("a"));
  const watch = client.stream((jobs) => jobs.watchJobs, { tenant: "", name: "a", revision: 0n });
  await watch.next();
  await watch.next();
  const rest = watch.next();
  await server.close();
  expect(await rest).toEqual({ done: true, value: undefined });
});

test("cancel and delete go to the control; deleting what is gone is success", async () => {
  await submit(text());
  const { uid } = await recordOf();
  controlled = [];
  const request = { requestId: "", tenant: "", name: "a" };
  expect((await client.call((jobs) => jobs.cancelJob, request, SOON)).job?.name).toBe("a");
  for (let i = 0; i < 2; i++) {
    await client.call((jobs) => jobs.deleteJob, { ...request, deleteCheckpoints: true }, SOON);
  }
  expect(controlled).toEqual([`cancel ${uid}`, `remove ${uid} with its checkpoints`]);
});

test("a job that is being deleted is not taken for the job that is submitted", async () => {
  await submit(text());
  const { state, status, uid, revision } = await recordOf();
  const effects = [{ id: "erase:1", kind: "erase", checkpoints: true, tries: 1 }] as const;
  const marked = { uid, expect: revision, state: { ...state, effects }, status };
  await journal.save({ ...marked, finishedMs: null, events: [], generation: null });
  const refused = await refusal(submit(text()));
  expect(refused).toMatchObject({ kind: "unavailable" });
  expect(refused.message).toContain("job a is being deleted");
});

test("events: the past, then what happens; explain tells reason and plan", async () => {
  await submit(text());
  const request = { tenant: "", jobName: "a", follow: true, afterSequence: 0n };
  const events = client.stream((jobs) => jobs.watchEvents, request);
  expect((await events.next()).value?.event?.reason?.code).toBe("Queued");
  const { state, status, uid, revision } = await recordOf();
  const reason = { code: "RankLost", sentence: "rank 1 was killed" };
  const told = { timeMs: 2, reason, generation: 1, step: 3, severity: "warning" } as const;
  const change = {
    uid,
    expect: revision,
    state,
    status,
    finishedMs: null,
    events: [told],
    generation: null,
  };
  await journal.save(change);
  expect((await events.next()).value?.event).toMatchObject({
    reason,
    step: 3n,
    severity: "warning",
  });
  await events.return();
  const explained = await client.call((jobs) => jobs.explainJob, { tenant: "", name: "a" }, SOON);
  expect(explained.reason?.code).toBe("Queued");
  expect(explained.evidence).toContain("step 3: rank 1 was killed");
  expect(explained.remedies).not.toEqual([]);
});

test("logs are streamed; members, generations and block map of a queued job are empty", async () => {
  await submit(text());
  const { uid } = await recordOf();
  const folder = join(directory, "runs", uid, "logs");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "a-m0.1.log"), "one\ntwo\n");
  const request = { tenant: "", name: "a", follow: false, tailLinesCount: 1, member: "" };
  const lines: string[] = [];
  for await (const line of client.stream((jobs) => jobs.streamLogs, request)) lines.push(line.text);
  expect(lines).toEqual(["two"]);
  const where = { tenant: "", jobName: "a" };
  expect((await client.call((jobs) => jobs.listMembers, where, SOON)).members).toEqual([]);
  expect((await client.call((jobs) => jobs.listGenerations, where, SOON)).generations).toEqual([]);
  expect((await client.call((jobs) => jobs.getBlockMap, where, SOON)).generation).toBe(0n);
});

test("every method wants the token", async () => {
  const stranger = connect(JobServiceClient, server.address, `${TOKEN}x`);
  const calls = [
    stranger.call((jobs) => jobs.getJob, { tenant: "", name: "a" }, SOON),
    stranger.call((jobs) => jobs.planJob, { tenant: "", documentJson: text() }, SOON),
    stranger.stream((jobs) => jobs.watchJobs, { tenant: "", name: "", revision: 0n }).next(),
    stranger
      .stream((jobs) => jobs.watchEvents, {
        tenant: "",
        jobName: "",
        follow: false,
        afterSequence: 0n,
      })
      .next(),
  ];
  for (const call of calls) expect((await refusal(call)).kind).toBe("unauthenticated");
  stranger.close();
});
