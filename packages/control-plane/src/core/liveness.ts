/** Silence: unknown is not failed. Only what others wait for is ever given up, and a hang names its rank. */

import type { Policy } from "./policy.ts";
import type { MemberState } from "./state.ts";

/** A rank that says nothing for this long hangs, where nobody set another limit. */
export const HANG_MS_DEFAULT = 30_000;
export const HANG_MEDIANS = 5;

export type Silence =
  | { readonly verdict: "heard" }
  /** Missing, and nobody waits for it: it may train on. */
  | { readonly verdict: "unknown"; readonly sinceMs: number }
  | { readonly verdict: "lost"; readonly sentence: string };

/** `waitedFor`: whether its peers cannot go on without hearing from it. */
export function judgeSilence(
  member: MemberState,
  waitedFor: boolean,
  now: number,
  policy: Policy,
): Silence {
  if (member.state === "launching" || member.state === "loading") {
    const waited = now - member.launchedMs;
    if (waited > policy.launchMs) {
      const seconds = Math.round(waited / 1000);
      return {
        verdict: "lost",
        sentence: `member ${member.name} did not load within ${seconds} s`,
      };
    }
  }
  if (member.silentSinceMs === null) return { verdict: "heard" };
  const silent = now - member.silentSinceMs;
  if (!waitedFor || silent <= policy.silenceMs)
    return { verdict: "unknown", sinceMs: member.silentSinceMs };
  const seconds = Math.round(silent / 1000);
  return {
    verdict: "lost",
    sentence: `member ${member.name} was not heard for ${seconds} s while its peers waited for it`,
  };
}

/** How long [ms] a rank may be silent in a step before it counts as hung: `hangMs`, longer where steps are long. */
export function hangAfterMs(hangMs: number, stepSecondsMedian: number): number {
  return Math.max(hangMs, HANG_MEDIANS * stepSecondsMedian * 1000);
}
