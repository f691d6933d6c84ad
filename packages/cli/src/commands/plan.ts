import { planToObject } from "@shardwright/job/job-object";
import { readDocuments } from "../documents.ts";
import { EXIT, type ExitCode } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { formatOf, machine } from "../output.ts";
import { visible } from "../render/escape.ts";
import { list } from "../render/json.ts";
import { planText } from "../render/plan.ts";
import { withJobs } from "../rpc/jobs.ts";

/** How each document would fit; nothing is stored. Exit 6 when one does not. */
export async function run(call: Invocation): Promise<ExitCode> {
  const format = formatOf(call, ["table", "wide", "json", "yaml", "jsonpath"]);
  const documents = await readDocuments(call.flags.list("filename"), call.io);
  return await withJobs(call, async (jobs) => {
    const objects: unknown[] = [];
    const refused: string[] = [];
    for (const { origin, value } of documents) {
      const { plan, warnings } = await jobs.plan(JSON.stringify(value));
      if (!plan.fits) refused.push(origin);
      for (const warning of warnings) call.io.err(`warning: ${visible(warning)}\n`);
      if (format.kind === "table" || format.kind === "wide") {
        const title = documents.length > 1 ? `${origin}\n` : "";
        call.io.out(title + planText(plan, format.kind === "wide"));
      } else {
        objects.push(planToObject(plan));
      }
    }
    if (objects.length > 0) {
      call.io.out(await machine(objects.length === 1 ? objects[0] : list(objects), format));
    }
    for (const origin of refused)
      call.io.err(`error: ${origin} does not fit; what was tried and why not stands above\n`);
    return refused.length === 0 ? EXIT.done : EXIT.doesNotFit;
  });
}
