import type { JobView } from "@shardwright/job/phase";
import { age } from "./duration.ts";
import { compact } from "./quantity.ts";
import { width } from "./table.ts";

/** `step 118/400  loss 1.234  1.9k tok/s  4/4 ranks gen 7  ETA 3m12s  ckpt 100`: what is known, in that order. */
export function progressLine(job: JobView, nowMs: number): string {
  const { state, progress, membership, plan, checkpoint } = job.status;
  const parts: string[] = [];
  if (state !== "Running") parts.push(state.toLowerCase());
  if (progress !== null) {
    parts.push(`step ${progress.step}/${progress.totalSteps || "?"}`);
    if (progress.step > 0) parts.push(`loss ${progress.loss.toFixed(3)}`);
    if (progress.tokensPerSecond > 0) parts.push(`${compact(progress.tokensPerSecond)} tok/s`);
  }
  if (membership !== null) {
    parts.push(
      `${membership.ranks}/${plan?.ranks ?? membership.ranks} ranks gen ${membership.generation}`,
    );
  }
  if (progress !== null && progress.etaMs !== null && progress.etaMs > nowMs) {
    parts.push(`ETA ${age(progress.etaMs - nowMs)}`);
  }
  if (checkpoint !== null) parts.push(`ckpt ${checkpoint.step}`);
  return parts.join("  ");
}

/** The line cut to a terminal, so that it never wraps. */
export function fitted(line: string, columns: number): string {
  if (width(line) < columns) return line;
  let cut = line;
  while (cut !== "" && width(cut) >= columns - 1) cut = cut.slice(0, -1);
  return `${cut}…`;
}
