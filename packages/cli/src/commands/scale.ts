import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { withJobs } from "../rpc/jobs.ts";

const USAGE = "shardctl scale JOB --members N";

/** Changes the number of members of a running job. The weights do not change by a bit; only the time does. */
export async function run(call: Invocation): Promise<ExitCode> {
  const name = jobName(call.args[0], USAGE);
  const members = call.flags.count("members");
  if (members === undefined || members === 0) {
    throw new Refusal(EXIT.usage, "how many members?", {
      why: "expected --members N, N at least 1",
      next: USAGE,
    });
  }
  return await withJobs(call, async (jobs) => {
    const { status } = await jobs.scale(name, members);
    const before = status.membership?.running ?? 0;
    call.io.out(`finetunejob.shardwright.dev/${name} scaled\n`);
    call.io.err(
      `${before} members run, ${members} are wanted; follow: ${call.io.program} get generations ${name}\n`,
    );
    return EXIT.done;
  });
}
