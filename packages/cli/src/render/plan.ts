import type { MemoryView, PlanView } from "@shardwright/job/phase";
import { seconds } from "./duration.ts";
import { visible } from "./escape.ts";
import { bytes, compact } from "./quantity.ts";
import { type Column, table } from "./table.ts";

/** Categories in the order of plan, explain and metrics. */
const CATEGORIES = {
  weights: "weights",
  gradients: "gradients",
  optimizer: "optimizer state",
  replicas: "replicas",
  activations: "activations",
  logits: "logits",
  transients: "transients",
  context: "context",
  slack: "slack",
} as const satisfies Record<keyof MemoryView, string>;

// Rejected alternatives of the short form; the rest with `-o wide`.
const REJECTED_SHOWN = 8;

/** The plan as a person reads it: the decision, bytes by category, the words of the planner, what was rejected. */
export function planText(plan: PlanView, wide: boolean): string {
  const parts = [
    plan.fits ? decision(plan) : "does not fit\n",
    plan.fits ? memoryTable(plan) : "",
    sentences("", plan.explanation),
    sentences("warning: ", plan.warnings),
    rejectedTable(plan, wide),
  ];
  return parts.filter((part) => part !== "").join("\n");
}

function decision(plan: PlanView): string {
  const { recipe } = plan;
  const rows = recipe.microBatchesPerLane * recipe.microBatchRows;
  const facts: [string, string][] = [
    ["ranks", `${plan.ranks} (${plan.members} members of ${plan.ranksPerMember})`],
    ["ZeRO stage", `${plan.zeroStage}`],
    [
      "trainable",
      `${compact(plan.trainableElements)} parameters in blocks of ${plan.blockElements}`,
    ],
    ["state copies", `${plan.copies}`],
    [
      "lanes",
      `${recipe.lanes} of ${rows} rows (${recipe.microBatchesPerLane} × ${recipe.microBatchRows})`,
    ],
    [
      "numerics",
      `${recipe.computeDtype}, ${recipe.attention} attention, ${recipe.threadsPerRank} threads a rank`,
    ],
    [
      "tokens",
      recipe.computedTokens === "needed" ? "computed where a loss needs them" : "all computed",
    ],
    ["recompute", recipe.gradientCheckpointing],
    ["saves", plan.saveEverySteps > 0 ? `every ${plan.saveEverySteps} steps` : "at the end"],
    ["snapshots", plan.snapshotEverySteps > 0 ? `every ${plan.snapshotEverySteps} steps` : "none"],
  ];
  if (plan.stepSecondsPredicted > 0) facts.push(["step time", seconds(plan.stepSecondsPredicted)]);
  if (plan.totalStepsPredicted > 0) facts.push(["steps", `${plan.totalStepsPredicted}`]);
  if (plan.hoursPredicted > 0) facts.push(["total time", seconds(plan.hoursPredicted * 3600)]);
  const indent = Math.max(...facts.map(([name]) => name.length));
  return facts.map(([name, value]) => `${name.padEnd(indent)}  ${visible(value)}\n`).join("");
}

interface MemoryRow {
  readonly name: string;
  readonly amount: number;
}

function memoryTable(plan: PlanView): string {
  const categories = Object.entries(CATEGORIES) as [keyof MemoryView, string][];
  const rows: MemoryRow[] = categories
    .map(([key, name]) => ({ name, amount: plan.memory[key] }))
    .filter(({ amount }) => amount > 0);
  rows.push({ name: "peak of a rank", amount: plan.peakBytesPredicted });
  if (plan.deviceBytes > 0) rows.push({ name: "there is", amount: plan.deviceBytes });
  const columns: Column<MemoryRow>[] = [
    { title: "MEMORY", cell: ({ name }) => name },
    { title: "PREDICTED", right: true, cell: ({ amount }) => bytes(amount) },
    { title: "BYTES", right: true, cell: ({ amount }) => `${amount}` },
  ];
  return table(rows, columns, { wide: false, headers: true });
}

function rejectedTable(plan: PlanView, wide: boolean): string {
  const shown = wide ? plan.rejected : plan.rejected.slice(0, REJECTED_SHOWN);
  if (shown.length === 0) return "";
  const columns: Column<PlanView["rejected"][number]>[] = [
    { title: "REJECTED", cell: ({ what }) => what },
    { title: "WHY", cell: ({ sentence }) => sentence },
  ];
  const rows = table(shown, columns, { wide: false, headers: true });
  const more = plan.rejected.length - shown.length;
  return more > 0 ? `${rows}and ${more} more (-o wide)\n` : rows;
}

function sentences(before: string, all: readonly string[]): string {
  return all.map((sentence) => `${before}${visible(sentence)}\n`).join("");
}
