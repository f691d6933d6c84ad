import type { JobView, ResultView } from "@shardwright/job/phase";
import { table } from "../render/table.ts";

/** The three hashes that say what a run has done. */
export const HASHES = [
  { key: "weightsSha256", title: "weights" },
  { key: "stateSha256", title: "optimizer state" },
  { key: "consumedSha256", title: "consumed data" },
] as const satisfies readonly { key: keyof ResultView; title: string }[];

/** One hash of both runs; an empty one is never the same as anything. */
export interface Comparison {
  readonly what: string;
  readonly undisturbed: string;
  readonly disturbed: string;
  readonly same: boolean;
}

export function compareResults(undisturbed: JobView, disturbed: JobView): readonly Comparison[] {
  return HASHES.map(({ key, title }) => {
    const before = undisturbed.status.result?.[key] ?? "";
    const after = disturbed.status.result?.[key] ?? "";
    return {
      what: title,
      undisturbed: before,
      disturbed: after,
      same: before !== "" && before === after,
    };
  });
}

// 64 bits of a hash are more than two runs can agree on by chance; -o json has all of it.
const HEX_SHOWN = 16;

/** The comparison as a table with ✓ and ✗. */
export function comparisonTable(rows: readonly Comparison[]): string {
  return table(
    rows,
    [
      { title: "SHA-256 OF", cell: ({ what }) => what },
      { title: "UNDISTURBED", cell: (row) => row.undisturbed.slice(0, HEX_SHOWN) },
      { title: "DISTURBED", cell: (row) => row.disturbed.slice(0, HEX_SHOWN) },
      { title: "SAME", cell: ({ same }) => (same ? "✓" : "✗") },
    ],
    { wide: false, headers: true },
  );
}

/** `disturbed by 2 kills: 2 recoveries, 1 step redone`. */
export function disturbanceLine(job: JobView, kills: number): string {
  const { count, stepsRedone } = job.status.recoveries;
  const of = (value: number, one: string, many: string): string =>
    `${value} ${value === 1 ? one : many}`;
  return `disturbed by ${of(kills, "kill", "kills")}: ${of(count, "recovery", "recoveries")}, ${of(stepsRedone, "step", "steps")} redone`;
}
