import { goodputOf, LEDGER_CATEGORIES, ledgerAt } from "@shardwright/job/accounts";
import type { JobView } from "@shardwright/job/phase";
import { counted } from "@shardwright/job/units";
import { seconds } from "./duration.ts";
import { bytes } from "./quantity.ts";
import { table } from "./table.ts";

/** Where the held time of a job went, as a table; empty while nothing was held. */
export function ledgerTable(job: JobView, nowMs: number): string {
  const ledger = ledgerAt(job.status.ledger, nowMs);
  const { byCategory, heldMs, unsettledMs, trainingRanks } = ledger;
  if (heldMs === 0) return "";
  const rows = [
    ...LEDGER_CATEGORIES.map((name) => ({ name: name as string, ...byCategory[name] })),
    { name: "not yet settled", ms: unsettledMs, openRanks: trainingRanks },
    { name: "held", ms: heldMs, openRanks: 0 },
  ].filter(({ ms }) => ms > 0);
  const goodput = goodputOf(ledger);
  return `${table(
    rows,
    [
      { title: "RANK TIME", cell: ({ name }) => name },
      { title: "SECONDS", right: true, cell: ({ ms }) => (ms / 1000).toFixed(3) },
      { title: "SHARE", right: true, cell: ({ ms }) => `${((100 * ms) / heldMs).toFixed(1)} %` },
      {
        title: "NOW",
        right: true,
        cell: ({ openRanks }) => (openRanks > 0 ? counted(openRanks, "rank") : ""),
      },
    ],
    { wide: false, headers: true },
  )}goodput ${((goodput ?? 0) * 100).toFixed(1)} %${
    unsettledMs > 0 ? ", with training that no checkpoint covers yet counted as productive" : ""
  }\n`;
}

/** What the plan said, beside what the steps took so far. */
export function measuredPairs({ status }: JobView): readonly (readonly [string, string])[] {
  const { plan, measure } = status;
  if (plan === null || measure === null || measure.steps === 0) return [];
  const mean = measure.seconds / measure.steps;
  return [
    [
      "Step",
      `${seconds(plan.stepSecondsPredicted)} predicted, ${seconds(mean)} measured (${ratio(mean, plan.stepSecondsPredicted)}) on ${measure.steps} steps`,
    ],
    [
      "Peak of a rank",
      `${bytes(plan.peakBytesPredicted)} predicted, ${bytes(measure.peakBytes)} measured (${ratio(measure.peakBytes, plan.peakBytesPredicted)})`,
    ],
  ];
}

function ratio(measured: number, predicted: number): string {
  return predicted > 0 ? `${(measured / predicted).toFixed(2)} ×` : "no prediction";
}
