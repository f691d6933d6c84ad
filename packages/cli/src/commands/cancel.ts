import { EXIT, type ExitCode } from "../exit.ts";
import { followJob } from "../follow.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { withJobs } from "../rpc/jobs.ts";

/** Asks for the end of a job; with --wait stays until it has come. A job that has ended stays as it is. */
export async function run(call: Invocation): Promise<ExitCode> {
  const name = jobName(call.args[0], "shardctl cancel JOB");
  return await withJobs(call, async (jobs) => {
    await jobs.cancel(name);
    call.io.out(`finetunejob.shardwright.dev/${name} cancelled\n`);
    if (!call.flags.on("wait")) return EXIT.done;
    const timeoutMs = call.flags.duration("timeout") ?? 0;
    const exit = await followJob(jobs, name, { io: call.io, timeoutMs, shown: false });
    return exit === EXIT.jobCancelled ? EXIT.done : exit;
  });
}
