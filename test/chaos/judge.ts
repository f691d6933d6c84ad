/** One schedule from apply to verdict. */
import { type Arena, chaosJob } from "./arena.ts";
import type { Schedule } from "./schedule.ts";
import { type Hashes, violationsOf } from "./verdict.ts";

export interface Judged {
  /** Deeds that were due before the job ended. */
  readonly done: number;
  /** What is wrong, in words; none when all is well. */
  readonly violations: readonly string[];
}

/** From the start of the last deed; a job of a few seconds that takes longer hangs. */
export const JOB_SECONDS_MAX = 180;

/** Runs and disturbs the job of a schedule. `expected`: of the undisturbed run. */
export async function judge(
  arena: Arena,
  name: string,
  schedule: Schedule,
  expected: Hashes,
): Promise<Judged> {
  const { embedded } = arena;
  const applied = await embedded.apply(chaosJob(arena.folder, name, schedule));
  if (applied.code !== 0) throw new Error(`apply ended with ${applied.code}: ${applied.stderr}`);
  const disturbed = await arena.disturb(name, schedule);
  const { done } = disturbed;
  const complete = "--for=condition=Complete";
  const timeout = `${JOB_SECONDS_MAX}s`;
  const waited = await embedded.ctl("wait", `job/${name}`, complete, "--timeout", timeout);
  if (waited.code !== 0)
    return { done, violations: [`the job did not complete: ${waited.stderr}`] };
  return { done, violations: await violationsOf({ arena, name, schedule, expected, disturbed }) };
}
