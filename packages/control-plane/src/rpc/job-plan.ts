import { type Complaint, type JobDocument, jobOfSource, pathOfSource } from "@shardwright/job";
import { modelCardFrom, type PlanOutcome } from "@shardwright/planner";
import { planJob } from "@shardwright/planner/plan";
import type { ClusterSnapshot } from "@shardwright/scheduler";
import type { JobStore } from "../ports.ts";
import { readModel } from "./job-model.ts";

/** How a document fits this cluster, or what is wrong with its model. */
export type PlanReading =
  | { readonly ok: true; readonly outcome: PlanOutcome }
  | { readonly ok: false; readonly complaints: readonly Complaint[] };

export interface PlanFacts {
  readonly tenant: string;
  readonly jobs: Pick<JobStore, "find">;
  readonly cluster: ClusterSnapshot;
}

// A tuned model that was tuned from a tuned model …; a longer chain is a circle.
const TUNED_DEPTH_MAX = 16;

/** Reads the model's configuration and plans the job on the cluster as if nobody else held anything. */
export async function planDocument(document: JobDocument, facts: PlanFacts): Promise<PlanReading> {
  const path = await modelPath(document, facts);
  if (typeof path !== "string") return { ok: false, complaints: [path] };
  const model = await readModel(path);
  if (!model.ok) return model;
  const reading = modelCardFrom(model.config);
  if (!reading.ok) {
    const complaints = reading.complaints.map(({ path: field, problem }) => ({
      path: `${model.configPath} ${field}`,
      problem,
    }));
    return { ok: false, complaints };
  }
  const outcome = planJob({
    spec: document.spec,
    card: reading.card,
    devices: devicesOf(facts.cluster),
    data: null,
    calibration: null,
    recipe: null,
  });
  return { ok: true, outcome };
}

/** The base model's files: of a tuned model those that its job was tuned from. */
async function modelPath(document: JobDocument, facts: PlanFacts): Promise<string | Complaint> {
  let source = document.spec.model.source;
  for (let depth = 0; depth < TUNED_DEPTH_MAX; depth++) {
    const name = jobOfSource(source);
    if (name === null) return pathOfSource(source);
    const job = await facts.jobs.find(facts.tenant, name);
    const state = job?.status.state ?? "unknown";
    if (job === null || state !== "Complete") {
      const problem =
        job === null ? `there is no job ${name}` : `job ${name} is ${state}; it must be Complete`;
      return { path: "spec.model.source", problem };
    }
    source = job.document.spec.model.source;
  }
  return { path: "spec.model.source", problem: `names more than ${TUNED_DEPTH_MAX} tuned models` };
}

/** What the largest kind of node offers one job. */
function devicesOf({ nodes }: ClusterSnapshot) {
  const kind = nodes[0]?.device ?? "cpu";
  const alike = nodes.filter(({ device }) => device === kind);
  const slots = alike.reduce((sum, node) => sum + node.slots, 0);
  return {
    kind,
    bytesPerRank: Math.min(...alike.map(({ bytesPerSlot }) => bytesPerSlot)),
    ranksMax: slots,
    coresCount: slots,
  };
}
