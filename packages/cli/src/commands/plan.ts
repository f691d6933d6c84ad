import { planToObject } from "@shardwright/job/job-object";
import type { PlanView } from "@shardwright/job/phase";
import { readDocuments, type SourceDocument } from "../documents.ts";
import { EXIT, type ExitCode } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { formatOf, machine } from "../output.ts";
import { visible } from "../render/escape.ts";
import { list } from "../render/json.ts";
import { planText } from "../render/plan.ts";
import { type Jobs, withJobs } from "../rpc/jobs.ts";

/** How each document would fit; nothing is stored. Exit 6 when one does not. */
export async function run(call: Invocation): Promise<ExitCode> {
  const format = formatOf(call, ["table", "wide", "json", "yaml", "jsonpath"]);
  const documents = await readDocuments(call.flags.list("filename"), call.io);
  const planned = await withJobs(call, (jobs) => planAll(jobs, documents));
  for (const { plan, warnings } of planned) {
    // What the plan itself warns of stands beside it.
    for (const warning of warnings.filter((text) => !plan.warnings.includes(text))) {
      call.io.err(`warning: ${visible(warning)}\n`);
    }
  }
  if (format.kind === "table" || format.kind === "wide") {
    for (const { origin, plan } of planned) {
      const title = planned.length > 1 ? `${origin}\n` : "";
      call.io.out(title + planText(plan, format.kind === "wide"));
    }
  } else {
    const objects = planned.map(({ plan }) => planToObject(plan));
    call.io.out(await machine(objects.length === 1 ? objects[0] : list(objects), format));
  }
  const refused = planned.filter(({ plan }) => !plan.fits);
  for (const { origin } of refused) {
    call.io.err(`error: ${origin} does not fit; what was tried and why not stands above\n`);
  }
  return refused.length === 0 ? EXIT.done : EXIT.doesNotFit;
}

interface Planned {
  readonly origin: string;
  readonly plan: PlanView;
  readonly warnings: readonly string[];
}

async function planAll(
  jobs: Jobs,
  documents: readonly SourceDocument[],
): Promise<readonly Planned[]> {
  const planned: Planned[] = [];
  for (const { origin, value } of documents) {
    planned.push({ origin, ...(await jobs.plan(JSON.stringify(value))) });
  }
  return planned;
}
