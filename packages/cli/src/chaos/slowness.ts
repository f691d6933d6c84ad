import { setTimeout as sleep } from "node:timers/promises";
import { type Strike, strike } from "./strike.ts";
import type { Victim } from "./victim.ts";

/** One turn of running and standing still: far shorter than a beat, so that a slow process is never a silent one. */
const PERIOD_MS = 120;

/** Slower than this is a process that stands still: `stop-rank` does that. */
export const FACTOR_MAX = 20;

/** Pure: how long [ms] a process runs and stands still in each period, to be `factor` times slower. */
export function dutyOf(factor: number): { readonly runMs: number; readonly stopMs: number } {
  const runMs = PERIOD_MS / factor;
  return { runMs, stopMs: PERIOD_MS - runMs };
}

/**
 * Makes the victim `factor` times slower for so long, by SIGSTOP and SIGCONT in turn. It runs again when this returns,
 * throws, or our process exits. Ends early when a process is not what it was. The answer is how the first signal went.
 */
export async function slowDown(
  victim: Victim,
  { factor, forMs, now }: { factor: number; forMs: number; now: () => number },
): Promise<Strike> {
  const { runMs, stopMs } = dutyOf(factor);
  const until = now() + forMs;
  const goOn = (): Strike => strike(victim, "SIGCONT");
  process.once("exit", goOn);
  try {
    const first = strike(victim, "SIGSTOP");
    let last = first;
    while (last.struck) {
      await sleep(stopMs);
      goOn();
      if (now() >= until) break;
      await sleep(runMs);
      last = strike(victim, "SIGSTOP");
    }
    return first;
  } finally {
    process.removeListener("exit", goOn);
    goOn();
  }
}
