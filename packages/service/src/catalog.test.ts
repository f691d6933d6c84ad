import { expect, test } from "vitest";
import { METRIC_NAMES, METRICS, type MetricDefinition } from "./catalog.ts";
import { createMeter } from "./meter.ts";

const ALLOWED_LABELS = new Set(
  (
    "job_namespace job_name queue pool state status category cause kind section reason result resource verb " +
    "grpc_service grpc_method grpc_code route method code op rank member member_pod member_node name currency " +
    "version model exactness"
  ).split(" "),
);

test.each(METRIC_NAMES)("%s follows the rules of names and labels", (name) => {
  const definition: MetricDefinition = METRICS[name];
  expect(name).toMatch(/^shardwright_[a-z_]+$/);
  expect(name.endsWith("_total")).toBe(definition.type === "counter");
  if (name.endsWith("_info")) expect(definition.type).toBe("gauge");
  for (const label of definition.labels) expect(ALLOWED_LABELS).toContain(label);
  for (const label of Object.keys(definition.values ?? {})) {
    expect(definition.labels).toContain(label);
  }
  expect(definition.buckets !== undefined).toBe(definition.type === "histogram");
  const buckets = definition.buckets ?? [];
  expect(buckets).toEqual([...new Set(buckets)].sort((a, b) => a - b));
  expect(definition.help).toMatch(/^[A-Z1].*\.$/);
});

test("a counter takes a journal total and forgets what is gone", async () => {
  const meter = createMeter();
  const job = { job_namespace: "default", job_name: "a" };
  meter.set("shardwright_job_redone_steps_total", job, 5);
  meter.set("shardwright_job_redone_steps_total", job, 7);
  expect(await meter.render()).toContain(
    'shardwright_job_redone_steps_total{job_namespace="default",job_name="a"} 7',
  );
  meter.remove("shardwright_job_redone_steps_total", job);
  expect(await meter.render()).not.toContain('job_name="a"');
});

test("an operation that does not belong to a metric's type is a bug", () => {
  const meter = createMeter();
  expect(() => meter.observe("shardwright_job_step", {}, 1)).toThrow("is a gauge");
  expect(() => meter.set("shardwright_journal_append_duration_seconds", {}, 1)).toThrow(
    "histogram",
  );
});
