import { isFinal } from "@shardwright/job/phase";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { withJobs } from "../rpc/jobs.ts";

/** Forgets a job. One that still runs is only deleted when its name is typed, or with --yes. */
export async function run(call: Invocation): Promise<ExitCode> {
  const name = jobName(call.args[0], "shardctl delete job/NAME");
  return await withJobs(call, async (jobs) => {
    try {
      // The server takes deleting what is gone for success: only asking tells a name that was mistyped.
      const { state } = (await jobs.get(name)).status;
      if (!call.settings.yes && !isFinal(state)) await confirm(call, name, state);
      await jobs.remove(name, call.flags.on("checkpoints"));
    } catch (error) {
      const isGone = (error as { readonly kind?: unknown } | null)?.kind === "not_found";
      if (!isGone || !call.flags.on("ignore-not-found")) throw error;
      return EXIT.done;
    }
    call.io.out(`finetunejob.shardwright.dev/${name} deleted\n`);
    return EXIT.done;
  });
}

async function confirm(call: Invocation, name: string, state: string): Promise<void> {
  if (!call.settings.input) {
    throw new Refusal(EXIT.usage, `job ${name} is ${state}; deleting it wants a confirmation`, {
      why: "there is nobody to ask",
      next: `${call.io.program} delete job/${name} --yes`,
    });
  }
  const typed = await call.io.ask(
    `job ${name} is ${state}; type its name to cancel and delete it: `,
  );
  if (typed?.trim() !== name) throw new Refusal(EXIT.error, "not deleted: the name was not typed");
}
