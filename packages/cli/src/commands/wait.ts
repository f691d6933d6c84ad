import { CONDITION_TYPES, type ConditionType, isFinal, type JobView } from "@shardwright/job/phase";
import { EXIT, type ExitCode, failureOf, Refusal } from "../exit.ts";
import { watchJob } from "../follow.ts";
import { type Invocation, jobName } from "../invocation.ts";
import { visible } from "../render/escape.ts";
import { withJobs } from "../rpc/jobs.ts";

type Goal =
  | { readonly kind: "condition"; readonly type: ConditionType; readonly status: string }
  | { readonly kind: "step"; readonly step: number }
  | { readonly kind: "delete" };

type Verdict = "met" | "not yet" | "never";

/** Waits; 0 when it is so, 1 when it can no longer become so, 5 when the time is over. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { io, flags } = call;
  const name = jobName(call.args[0], "shardctl wait job/NAME --for=condition=Complete");
  const goal = goalOf(flags.text("for") ?? "");
  const timeoutMs = flags.duration("timeout");
  const stop = new AbortController();
  const timer = timeoutMs === undefined ? undefined : setTimeout(() => stop.abort(), timeoutMs);
  try {
    return await withJobs(call, async (jobs) => {
      const control = { say: (line: string) => io.err(`${line}\n`), signal: stop.signal };
      for await (const job of watchJob(jobs, name, control)) {
        const verdict = judge(job, goal);
        if (verdict === "met") {
          io.out(
            `finetunejob.shardwright.dev/${name} ${goal.kind === "delete" ? "deleted" : "condition met"}\n`,
          );
          return EXIT.done;
        }
        if (verdict === "never") return saySo(call, name, job);
      }
      io.err(
        `error: timed out waiting for ${flags.text("for")} on job ${name}\n  next: ${io.program} explain ${name}\n`,
      );
      return EXIT.timeout;
    });
  } catch (error) {
    // A job that was gone before we looked is deleted as well.
    if (goal.kind === "delete" && isNotFound(error)) return EXIT.done;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function saySo({ io }: Invocation, name: string, job: JobView | null): ExitCode {
  const how =
    job === null ? "was deleted" : `ended as ${job.status.state}: ${job.status.reason.sentence}`;
  io.err(`error: job ${name} ${visible(how)}\n`);
  if (job !== null) io.err(`  next: ${io.program} explain ${name}\n`);
  return EXIT.error;
}

/** Pure: whether a job is where the user wants it. Null = it was deleted. */
export function judge(job: JobView | null, goal: Goal): Verdict {
  if (job === null) return goal.kind === "delete" ? "met" : "never";
  if (goal.kind === "delete") return "not yet";
  if (isMet(job, goal)) return "met";
  return isFinal(job.status.state) ? "never" : "not yet";
}

function isMet(job: JobView, goal: Exclude<Goal, { kind: "delete" }>): boolean {
  if (goal.kind === "step") return (job.status.progress?.step ?? 0) >= goal.step;
  const condition = job.status.conditions.find(({ type }) => type === goal.type);
  return (condition?.status ?? "Unknown") === goal.status;
}

/** `condition=Complete`, `condition=Running=False`, `step=50`, `delete`. */
export function goalOf(text: string): Goal {
  if (text === "delete") return { kind: "delete" };
  const step = /^step=(\d{1,15})$/.exec(text)?.[1];
  if (step !== undefined) return { kind: "step", step: Number(step) };
  const [, word, status = "True"] =
    /^condition=([A-Za-z]+)(?:=(True|False|Unknown))?$/i.exec(text) ?? [];
  const type = CONDITION_TYPES.find((known) => known.toLowerCase() === word?.toLowerCase());
  if (type === undefined) {
    throw new Refusal(EXIT.usage, `--for=${text}: expected condition=TYPE, step=N or delete`, {
      why: `conditions are ${CONDITION_TYPES.join(", ")}`,
    });
  }
  return {
    kind: "condition",
    type,
    status: status.charAt(0).toUpperCase() + status.slice(1).toLowerCase(),
  };
}

function isNotFound(error: unknown): boolean {
  return (
    (error as { readonly kind?: unknown } | null)?.kind === "not_found" &&
    failureOf(error).exit === EXIT.error
  );
}
