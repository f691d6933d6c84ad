import { type JobStatusView, type JobView, makeJobUid, queuedStatus } from "@shardwright/job";
import { METRIC_NAMES, METRICS, type MetricDefinition } from "@shardwright/service/catalog";
import { expect, test } from "vitest";
import { aJob, aRunningJob } from "../../../test/support/job-builder.ts";
import { createBoard, GRACE_MS } from "./board.ts";
import { type Sample, samplesOf } from "./samples.ts";

const NO_FACTS = { members: [], stepSeconds: [] };
const MEMBERS = [{ member: "m0", pod: "", node: "here" }];

function read(samples: readonly Sample[], metric: string, more: Record<string, string> = {}) {
  const found = samples.filter(
    (sample) =>
      sample.metric === metric &&
      Object.entries(more).every(([name, value]) => sample.labels[name] === value),
  );
  expect(found.length).toBeLessThanOrEqual(1);
  return found[0]?.value;
}

test("every metric that the catalogue gives to the exporter is emitted for a running job", () => {
  const ours = METRIC_NAMES.filter((name) => METRICS[name].owner === "metrics-exporter");
  const emitted = new Set(
    samplesOf(aRunningJob(), { members: MEMBERS, stepSeconds: [1] }, 1_000_000).map(
      ({ metric }) => metric,
    ),
  );
  expect([...emitted, "shardwright_build_info"].sort()).toEqual([...ours].sort());
});

test("labels are exactly those of the catalogue, closed values stay inside their set", () => {
  for (const { metric, labels } of samplesOf(
    aRunningJob(),
    { members: MEMBERS, stepSeconds: [] },
    0,
  )) {
    const definition: MetricDefinition = METRICS[metric];
    expect(Object.keys(labels).sort()).toEqual([...definition.labels].sort());
    for (const [label, allowed] of Object.entries(definition.values ?? {})) {
      expect(allowed).toContain(labels[label]);
    }
  }
});

test("a job stays within its budget of 88 series", () => {
  expect(samplesOf(aRunningJob(), NO_FACTS, 0).length).toBeLessThanOrEqual(88);
});

test("exactly one state is 1, and a queued job has no numbers it does not know", () => {
  const samples = samplesOf(aJob(), NO_FACTS, 61_000);
  const states = samples.filter(({ metric }) => metric === "shardwright_job_state");
  expect(states.filter(({ value }) => value === 1).map(({ labels }) => labels["state"])).toEqual([
    "queued",
  ]);
  expect(read(samples, "shardwright_train_loss")).toBeUndefined();
  expect(read(samples, "shardwright_job_queue_wait_seconds")).toBe(60);
  expect(read(samples, "shardwright_job_gpus_held")).toBe(0);
});

test("the path of a model never becomes a label", () => {
  const info = samplesOf(aJob(), NO_FACTS, 0).find(
    ({ metric }) => metric === "shardwright_job_info",
  );
  expect(info?.labels["model"]).toBe("tiny-llama");
});

test("the stall threshold follows slow steps, and has a floor", () => {
  const threshold = (stepSeconds: readonly number[]) =>
    read(
      samplesOf(aRunningJob(), { members: [], stepSeconds }, 0),
      "shardwright_job_stall_threshold_seconds",
    );
  expect(threshold([])).toBe(600);
  expect(threshold([1, 2, 3])).toBe(600);
  expect(threshold([100, 200, 150])).toBe(1000);
});

test("a finished or deleted job's series go after the grace; its successor of the same name starts anew", () => {
  let now = 0;
  const board = createBoard(() => now);
  const names = () => new Set(board.samples().map(({ labels }) => labels["job_name"]));
  board.put(aJob({ name: "a" }));
  board.put(withState(aJob({ name: "b" }), "Complete"));
  board.put(aJob({ name: "c" }));
  board.drop("default", "c");
  now = GRACE_MS;
  expect(names()).toEqual(new Set(["a", "b", "c"]));
  now = GRACE_MS + 1;
  expect(names()).toEqual(new Set(["a"]));
  board.keepOnly("default", new Set());
  now += GRACE_MS + 1;
  expect(names()).toEqual(new Set());

  board.put(withState(aJob({ name: "d" }), "Failed"));
  board.put(aJob({ name: "d", uid: makeJobUid(9, new Uint8Array(10)) }));
  now += 2 * GRACE_MS;
  expect(names()).toEqual(new Set(["d"]));
});

test("members are asked for once per generation and only shown for their job", () => {
  const board = createBoard(() => 0);
  const job = aRunningJob();
  expect(board.put(aJob())).toBe(false);
  expect(board.put(job)).toBe(true);
  board.putMembers(job, MEMBERS);
  expect(board.put(job)).toBe(false);
  expect(read(board.samples(), "shardwright_member_info", { member_node: "here" })).toBe(1);
});

function withState(job: JobView, state: JobStatusView["state"]): JobView {
  return { ...job, status: { ...queuedStatus(job.status.reason, null), state } };
}
