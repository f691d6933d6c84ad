import { type JobDocument, type JobSpec, jobOfSource, queuedStatus } from "@shardwright/job";
import type { ParallelPlan } from "@shardwright/planner";
import { openLedger } from "../core/ledger.ts";
import type { JobState } from "../core/state.ts";
import { NOTHING_TALLIED } from "../core/tally.ts";
import type { JobRecord, JobStore } from "../ports.ts";

export interface PutRequest {
  readonly tenant: string;
  readonly uid: string;
  readonly document: JobDocument;
  readonly plan: ParallelPlan;
}

/** Writes a submitted job into the store, queued. Null when the name was taken meanwhile. */
export async function putJob(
  store: JobStore,
  request: PutRequest,
  now: number,
): Promise<JobRecord | null> {
  const { tenant, uid, document, plan } = request;
  const { name } = document.metadata;
  const reason = { code: "Queued", sentence: "submitted; waiting for its turn" };
  const state: JobState = {
    phase: "queued",
    uid,
    spec: await withFiles(document.spec, tenant, store),
    submittedPlan: plan,
    reason,
    effects: [],
    ledger: openLedger(now),
    tallies: NOTHING_TALLIED,
    sinceMs: now,
  };
  const outcome = await store.create(
    {
      uid,
      tenant,
      name,
      createdMs: now,
      finishedMs: null,
      document,
      state,
      status: queuedStatus(reason, plan),
    },
    [{ timeMs: now, reason, generation: 0, step: 0, severity: "normal" }],
  );
  return outcome === "created" ? await store.load(uid) : null;
}

/** The spec as the trainer reads it: a finished job's result by the folder of its weights. */
async function withFiles(spec: JobSpec, tenant: string, store: JobStore): Promise<JobSpec> {
  const source = await tunedWeights(spec.model.source, tenant, store);
  return source === null ? spec : { ...spec, model: { ...spec.model, source } };
}

/** `ft:NAME` → `file://` of its exported whole weights; null when the source is no finished job's. */
export async function tunedWeights(
  source: string,
  tenant: string,
  store: Pick<JobStore, "find">,
): Promise<string | null> {
  const name = jobOfSource(source);
  if (name === null) return null;
  const job = await store.find(tenant, name);
  return job?.status.result?.artifacts.find(({ format }) => format === "hf")?.location ?? null;
}
