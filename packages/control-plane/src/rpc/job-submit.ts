import { randomBytes } from "node:crypto";
import {
  canonicalJson,
  Fault,
  type JobDocument,
  jobToWire,
  makeJobUid,
  queuedStatus,
  toPlainDocument,
} from "@shardwright/job";
import type { ParallelPlan } from "@shardwright/planner";
import type { SubmitJobRequest, SubmitJobResponse } from "@shardwright/proto";
import type { Clock } from "@shardwright/service/clock";
import { erasureOf } from "../core/erasure.ts";
import type { PlanReading } from "../plan-facts.ts";
import type { JobHistory, JobRecord, JobStore } from "../ports.ts";
import { checkData } from "./job-data.ts";
import { readDocument, tenantOf } from "./job-door.ts";
import { wireOf } from "./job-views.ts";

/** Where a submitted job is written: the store, or a FineTuneJob object. Null when the name was taken meanwhile. */
export type PutJob = (job: {
  readonly tenant: string;
  readonly uid: string;
  readonly document: JobDocument;
  readonly plan: ParallelPlan;
}) => Promise<JobRecord | null>;

export interface SubmitWorld {
  readonly jobs: JobStore;
  readonly history: JobHistory;
  readonly clock: Clock;
  plan(tenant: string, document: JobDocument): Promise<PlanReading>;
  readonly putJob: PutJob;
}

// An id is a UUID or something like it.
const REQUEST_ID_CHARS_MAX = 128;

/** Checks, plans and stores a job; the same request, or the same document, again answers without doing it twice. */
export async function acceptJob(
  request: SubmitJobRequest,
  world: SubmitWorld,
): Promise<SubmitJobResponse> {
  // 1. Parse: every complaint about the document.
  const tenant = tenantOf(request);
  const { document, warnings } = readDocument(request.documentJson);
  checkRequestId(request.requestId);
  // 2. Asked before?
  const remembered = request.dryRun ? null : await answeredBefore(request, tenant, world);
  if (remembered !== null) return remembered;
  const before = await world.jobs.find(tenant, document.metadata.name);
  if (before !== null) return { ...unchangedOrConflict(before, document), warnings: [...warnings] };
  // 3. Files and plan: nothing that cannot run is stored.
  const { plan, noted } = await checkedPlan(tenant, document, world);
  const all = [...warnings, ...noted];
  const uid = makeJobUid(world.clock.now(), randomBytes(10));
  if (request.dryRun)
    return {
      job: imagined(tenant, document, { uid, plan, world }),
      outcome: "created",
      warnings: all,
    };
  // 4. Store.
  const record = await world.putJob({ tenant, uid, document, plan });
  if (record === null) {
    // Somebody was faster: the same document is the same job.
    const other = await world.jobs.find(tenant, document.metadata.name);
    if (other === null)
      throw new Fault("unavailable", "the job was removed while it was submitted; try again");
    return { ...unchangedOrConflict(other, document), warnings: all };
  }
  if (request.requestId !== "") {
    const answer: Answer = { uid, warnings: all };
    await world.history.rememberAnswer(tenant, request.requestId, JSON.stringify(answer));
  }
  return { job: wireOf(record), outcome: "created", warnings: all };
}

function checkRequestId(requestId: string): void {
  if (requestId.length <= REQUEST_ID_CHARS_MAX) return;
  const problem = `has ${requestId.length} characters, at most ${REQUEST_ID_CHARS_MAX} are allowed`;
  throw new Fault("invalid", "the request is wrong", {
    complaints: [{ path: "request_id", problem }],
  });
}

/** What is remembered of a request: the job it made, as it is now, and what was said beside. */
interface Answer {
  readonly uid: string;
  readonly warnings: readonly string[];
}

async function answeredBefore(
  { requestId }: SubmitJobRequest,
  tenant: string,
  { history, jobs }: SubmitWorld,
): Promise<SubmitJobResponse | null> {
  const text = requestId === "" ? null : await history.answered(tenant, requestId);
  if (text === null) return null;
  const { uid, warnings } = JSON.parse(text) as Answer;
  const record = await jobs.load(uid);
  return record === null
    ? null
    : { job: wireOf(record), outcome: "created", warnings: [...warnings] };
}

function unchangedOrConflict(
  record: JobRecord,
  document: JobDocument,
): Pick<SubmitJobResponse, "job" | "outcome"> {
  if (erasureOf(record.state) !== null)
    throw new Fault("unavailable", `job ${record.name} is being deleted; submit it again later`);
  const text = (one: JobDocument): string => canonicalJson(toPlainDocument(one));
  if (text(record.document) === text(document))
    return { job: wireOf(record), outcome: "unchanged" };
  throw new Fault(
    "conflict",
    `job ${record.name} exists with another document; a job cannot be changed: delete it, or use another name`,
  );
}

/** The plan, or a Fault with everything that is wrong with model, data and size. */
export async function checkedPlan(
  tenant: string,
  document: JobDocument,
  world: Pick<SubmitWorld, "plan">,
): Promise<{ readonly plan: ParallelPlan; readonly noted: readonly string[] }> {
  const reading = await world.plan(tenant, document);
  const data = await checkData(document.spec.data);
  const complaints = [...(reading.ok ? [] : reading.complaints), ...data.complaints];
  if (reading.ok && complaints.length === 0) {
    const { outcome } = reading;
    if (outcome.fits)
      return { plan: outcome.plan, noted: [...outcome.plan.warnings, ...data.warnings] };
    const tried = outcome.rejected.map(({ what, sentence }) => ({
      path: "plan",
      problem: `${what}: ${sentence}`,
    }));
    // The path tells clients that the job is right and too large.
    const why = [{ path: "plan", problem: outcome.reason.sentence }, ...tried];
    throw new Fault("conflict", "the job does not fit", { complaints: why });
  }
  throw new Fault("invalid", "the job cannot run as it is", { complaints });
}

/** What would be stored. */
function imagined(
  tenant: string,
  document: JobDocument,
  made: { uid: ReturnType<typeof makeJobUid>; plan: ParallelPlan; world: SubmitWorld },
) {
  const reason = { code: "DryRun", sentence: "nothing was stored" };
  return jobToWire({
    tenant,
    name: document.metadata.name,
    uid: made.uid,
    revision: 0,
    createdMs: made.world.clock.now(),
    finishedMs: null,
    document,
    status: queuedStatus(reason, made.plan),
  });
}
