import type { JobView } from "@shardwright/job/phase";
import { age } from "./duration.ts";
import { compact } from "./quantity.ts";
import type { Column } from "./table.ts";

/** The columns of `get jobs`, the same words and order as the CRD's printer columns. */
export function jobColumns(nowMs: number): readonly Column<JobView>[] {
  return [
    { title: "NAME", cell: ({ name }) => name },
    { title: "STATE", cell: ({ status }) => status.state },
    { title: "STEP", right: true, cell: stepOf },
    {
      title: "TOKENS/S",
      right: true,
      cell: ({ status }) => numberOf(status.progress?.tokensPerSecond),
    },
    {
      title: "MEMBERS",
      right: true,
      cell: ({ status: { membership } }) =>
        membership === null ? "" : `${membership.running}/${membership.wanted}`,
    },
    { title: "RECOVERIES", right: true, cell: ({ status }) => `${status.recoveries.count}` },
    {
      title: "LAST-CKPT",
      right: true,
      cell: ({ status: { checkpoint } }) =>
        checkpoint === null ? "" : age(nowMs - checkpoint.committedMs),
    },
    { title: "AGE", right: true, cell: ({ createdMs }) => age(nowMs - createdMs) },
    { title: "QUEUE", wide: true, cell: ({ document }) => document.spec.queue },
    {
      title: "RANKS",
      wide: true,
      right: true,
      cell: ({ status }) => `${status.membership?.ranks ?? ""}`,
    },
    {
      title: "GENERATION",
      wide: true,
      right: true,
      cell: ({ status }) => `${status.membership?.generation ?? ""}`,
    },
    {
      title: "LOSS",
      wide: true,
      right: true,
      cell: ({ status }) => status.progress?.loss.toFixed(3) ?? "",
    },
    { title: "REASON", wide: true, cell: ({ status }) => status.reason.code },
  ];
}

function stepOf({ status: { progress } }: JobView): string {
  return progress === null ? "" : `${progress.step}/${progress.totalSteps || "?"}`;
}

function numberOf(value: number | undefined): string {
  return value === undefined || value === 0 ? "" : compact(value);
}
