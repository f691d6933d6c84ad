import { availableParallelism } from "node:os";
import { type Complaint, type JobDocument, jobOfSource, pathOfSource } from "@shardwright/job";
import { modelCardFrom, type PlanOutcome } from "@shardwright/planner";
import { planJob } from "@shardwright/planner/plan";
import type { ClusterSnapshot } from "@shardwright/scheduler";
import { tunedWeights } from "./desired/local.ts";
import type { JobStore } from "./ports.ts";
import { readModel } from "./rpc/job-model.ts";

/** How a document fits this cluster, or what is wrong with its model. */
export type PlanReading =
  | { readonly ok: true; readonly outcome: PlanOutcome }
  | { readonly ok: false; readonly complaints: readonly Complaint[] };

export interface PlanFacts {
  readonly tenant: string;
  readonly jobs: Pick<JobStore, "find">;
  readonly cluster: ClusterSnapshot;
}

/** Reads the model's configuration and plans the job on the cluster as if nobody else held anything. */
export async function planFor(document: JobDocument, facts: PlanFacts): Promise<PlanReading> {
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

/** The model's files: of a finished job the whole weights that it exported. */
async function modelPath(document: JobDocument, facts: PlanFacts): Promise<string | Complaint> {
  const { source } = document.spec.model;
  const name = jobOfSource(source);
  if (name === null) return pathOfSource(source);
  const job = await facts.jobs.find(facts.tenant, name);
  const path = "spec.model.source";
  if (job === null) return { path, problem: `there is no job ${name}` };
  const { state } = job.status;
  if (state !== "Complete")
    return { path, problem: `job ${name} is ${state}; it must be Complete` };
  const weights = await tunedWeights(source, facts.tenant, facts.jobs);
  if (weights !== null) return pathOfSource(weights);
  const problem = `job ${name} exported no whole weights; give it the export {format: hf, merge: true}`;
  return { path, problem };
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
    coresCount: availableParallelism(),
  };
}
