import { EXIT, type ExitCode } from "../exit.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { printObject } from "../output.ts";
import { visible } from "../render/escape.ts";
import { withJobs } from "../rpc/jobs.ts";

/** Why a job is as it is: the reason, then the evidence, then what would change it. */
export async function run(call: Invocation): Promise<ExitCode> {
  const name = jobName(call.args[0], "shardctl explain JOB");
  const { reason, evidence, remedies } = await withJobs(call, (jobs) => jobs.explain(name));
  const { code, sentence } = reason ?? { code: "", sentence: "" };
  await printObject({ job: name, reason: { code, sentence }, evidence, remedies }, call, () => {
    const bullets = (title: string, items: readonly string[]): string =>
      items.length === 0
        ? ""
        : `\n${title}\n${items.map((item) => `  ${visible(item)}\n`).join("")}`;
    return `${visible(sentence)}${code ? ` (${code})` : ""}\n${bullets("Evidence", evidence)}${bullets("What would change it", remedies)}`;
  });
  return EXIT.done;
}
