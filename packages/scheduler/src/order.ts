/** Whose turn: higher priority, then longer waiting, then by name, so that there is never a tie left to chance. */
import type { WaitingJob } from "./gang.ts";

/** Negative when `a` goes first. */
export function compareTurn(a: WaitingJob, b: WaitingJob): number {
  return (
    b.priority - a.priority ||
    a.submittedMs - b.submittedMs ||
    compareText(a.name, b.name) ||
    compareText(a.uid, b.uid)
  );
}

/** The jobs, first turn first. */
export function inTurn(jobs: readonly WaitingJob[]): WaitingJob[] {
  return [...jobs].sort(compareTurn);
}

/** By code units: the same on every machine, whatever its locale. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
