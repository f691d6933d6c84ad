import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { METRIC_NAMES, METRICS, type MetricDefinition } from "@shardwright/service/catalog";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Family, readPrometheusText } from "../support/prometheus-text.ts";
import { Embedded, fixtures, tinyJob } from "./harness.ts";

// A real `up`, a real job with a real fault, a job that waits, a stranger: after that every metric must have been seen.

let shardwright: Embedded;
let folder: string;
const seen = new Map<string, Family>();

beforeAll(async () => {
  folder = await fixtures();
  shardwright = await Embedded.start();
});
afterAll(async () => {
  await shardwright.stop();
});

function server(): { metrics: string; token: string } {
  const read = (name: string): string => readFileSync(join(shardwright.dataDir, name), "utf8");
  const { metricsAddress } = JSON.parse(read("server.json")) as { metricsAddress: string };
  return { metrics: `http://${metricsAddress}/metrics`, token: read("token").trim() };
}

async function scrape(): Promise<readonly Family[]> {
  const { metrics, token } = server();
  const response = await fetch(metrics, { headers: { authorization: `Bearer ${token}` } });
  expect(response.status).toBe(200);
  const families = readPrometheusText(await response.text());
  for (const family of families) if (family.samples.length > 0) seen.set(family.name, family);
  return families;
}

function sumOf(families: readonly Family[], name: string, labels: Record<string, string>): number {
  const found = families
    .flatMap(({ samples }) => samples)
    .filter(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    );
  return found.reduce((sum, { value }) => sum + value, 0);
}

describe("/metrics of a real job", () => {
  const job = { job_name: "seen" };
  const steps = 40;

  it("can be read, and what it says of a disturbed job agrees with the job", async () => {
    const extra = { checkpoint: { every: { steps: 10 }, keepLast: 2 } };
    await shardwright.apply(tinyJob(folder, { name: "seen", members: 2, steps, extra }));
    // More ranks than are left: it waits.
    const resources = { members: { replicas: 4, min: 4, max: 5 } };
    await shardwright.apply(tinyJob(folder, { name: "waits", steps: 2, extra: { resources } }));
    await shardwright.reach("seen", 5);
    await scrape();
    const [first] = await shardwright.members("seen");
    process.kill(first?.ranks[0]?.pid ?? 0, "SIGKILL");
    const done = await shardwright.complete("seen");
    await expect
      .poll(async () => {
        return sumOf(await scrape(), "shardwright_job_state", { ...job, state: "complete" });
      })
      .toBe(1);
    const families = await scrape();
    const ledger = done.status as unknown as {
      ledger: { rankMilliseconds: Record<string, number>; heldRankMilliseconds: number };
    };
    const booked = Object.values(ledger.ledger.rankMilliseconds).reduce((sum, ms) => sum + ms, 0);
    expect(booked).toBe(ledger.ledger.heldRankMilliseconds);
    const named = (name: string, more = {}): number => sumOf(families, name, { ...job, ...more });
    expect(named("shardwright_job_step")).toBe(steps);
    expect(named("shardwright_train_step_duration_seconds_count")).toBeGreaterThan(steps / 2);
    expect(named("shardwright_job_gpu_seconds_total", { category: "productive" })).toBeGreaterThan(
      0,
    );
    expect(named("shardwright_job_gpu_seconds_total")).toBeGreaterThanOrEqual(
      booked / 1000 - 0.001,
    );
    expect(named("shardwright_job_gpu_seconds_unsettled")).toBe(0);
    expect(named("shardwright_job_interruptions_total")).toBe(1);
    expect(named("shardwright_job_recoveries_total")).toBeGreaterThanOrEqual(1);
    expect(named("shardwright_checkpoint_saves_total")).toBeGreaterThanOrEqual(2);
    expect(sumOf(families, "shardwright_recovery_duration_seconds_count", {})).toBe(1);
  });

  it("has nothing outside the catalogue, and everything in it was seen", async () => {
    const { metrics } = server();
    expect((await fetch(metrics)).status).toBe(401);
    const wrong = join(shardwright.dataDir, "wrong-token");
    writeFileSync(wrong, "somebody-elses-token\n", { mode: 0o600 });
    expect((await shardwright.ctl("get", "jobs", "--token-file", wrong)).code).not.toBe(0);
    await scrape();
    const strange = [...seen.keys()].filter(
      (name) =>
        !(METRIC_NAMES as readonly string[]).includes(name) && !/^(process|nodejs)_/.test(name),
    );
    expect(strange).toEqual([]);
    expect(METRIC_NAMES.filter((name) => !seen.has(name))).toEqual([]);
    for (const name of METRIC_NAMES) {
      const definition: MetricDefinition = METRICS[name];
      for (const { labels } of seen.get(name)?.samples ?? []) {
        for (const label of Object.keys(labels).filter((one) => one !== "le")) {
          expect(definition.labels).toContain(label);
          const allowed = definition.values?.[label];
          if (allowed !== undefined) expect(allowed).toContain(labels[label]);
        }
      }
    }
  });

  it("forgets the distribution of a job that is deleted", async () => {
    await shardwright.complete("waits");
    await shardwright.ctl("delete", "job/seen");
    const name = "shardwright_train_step_duration_seconds_count";
    await expect.poll(async () => sumOf(await scrape(), name, job)).toBe(0);
    expect(sumOf(await scrape(), name, { job_name: "waits" })).toBeGreaterThan(0);
  });
});
