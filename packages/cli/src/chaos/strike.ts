import { factsOf, strangeness } from "./pid-guard.ts";
import type { JobProcess, Victim } from "./victim.ts";

/** How a signal went: who got it, or why nobody did. */
export type Strike =
  | { readonly struck: true; readonly pids: readonly number[] }
  | { readonly struck: false; readonly why: string };

/**
 * Sends a signal to every process of the victim, the first one (who it is about) checked before anything is sent.
 * Whatever is not what it should be any more is left alone.
 */
export function strike(victim: Victim, signal: NodeJS.Signals): Strike {
  const [first] = victim.processes;
  if (first === undefined) return { struck: false, why: `${victim.label} has no process` };
  const strange = strangeness(first, factsOf(first.pid));
  if (strange !== null) return { struck: false, why: `process ${first.pid} ${strange}` };
  // All of them before the first signal: an agent that is gone is no parent any more.
  const ours = victim.processes.filter((one) => strangeness(one, factsOf(one.pid)) === null);
  const pids = ours.filter((one) => send(one, signal)).map(({ pid }) => pid);
  return pids.length > 0
    ? { struck: true, pids }
    : { struck: false, why: `process ${first.pid} is not running any more` };
}

function send({ pid }: JobProcess, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}
