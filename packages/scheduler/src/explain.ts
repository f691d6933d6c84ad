/** Decisions → sentences. The same words in `explain`, in the API and in conditions. */
import { durationText } from "@shardwright/job/units";
import type { Refusal } from "./fit.ts";
import type { WaitingJob } from "./gang.ts";

/** Nodes named one by one in a sentence; the others are counted. */
const NODES_NAMED_MAX = 3;

/** `: node a has …; 12 more nodes: SlotsHeld 10, OtherDevice 2`; empty without refusals. */
export function explainRefusals(refusals: readonly Refusal[]): string {
  if (refusals.length === 0) return "";
  const named = refusals.slice(0, NODES_NAMED_MAX).map(({ sentence }) => sentence);
  const others = refusals.slice(NODES_NAMED_MAX);
  if (others.length === 0) return `: ${named.join("; ")}`;
  const counts = new Map<string, number>();
  for (const { code } of others) counts.set(code, (counts.get(code) ?? 0) + 1);
  const tally = [...counts].map(([code, count]) => `${code} ${count}`).join(", ");
  return `: ${named.join("; ")}; ${others.length} more: ${tally}`;
}

/** Why a job waits although there may be room: somebody is before it. */
export function explainTurn(first: WaitingJob, now: number): string {
  const waiting = durationText(Math.max(0, now - first.submittedMs));
  return `job ${first.name} is before it (priority ${first.priority}, waiting ${waiting}) and takes the next room on that device`;
}

/** One paragraph for `explain --why pending`. */
export function explainWait(job: WaitingJob, sentence: string, now: number): string {
  const waiting = durationText(Math.max(0, now - job.submittedMs));
  return `Job ${job.name} has waited ${waiting} in queue ${job.queue}: ${sentence}.`;
}
