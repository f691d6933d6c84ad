/** LoRA on a model: which linears it attaches to, and how many parameters it trains. */
import type { Complaint } from "@shardwright/job";
import type { Linear, ModelCard } from "./model-card.ts";

export type Targets = "all-linear" | readonly string[];

export type AdapterReading =
  | {
      readonly ok: true;
      /** Adapted linears of one layer, in the model's order. */
      readonly linears: readonly Linear[];
      /** Names of target modules as PEFT takes them, each once: `q_proj`, `c_attn`. */
      readonly moduleNames: readonly string[];
      readonly trainableElements: number;
    }
  | { readonly ok: false; readonly complaints: readonly Complaint[] };

/**
 * Matches targets as PEFT does: a name is the last part of a module's path, or more of its end. `all-linear` is
 * every linear except the output head. A target that matches nothing is a complaint, not silence.
 */
export function adapterOf(card: ModelCard, r: number, targets: Targets): AdapterReading {
  const complaints: Complaint[] = [];
  const wanted = targets === "all-linear" ? card.linears.map((linear) => linear.name) : targets;
  for (const [index, target] of wanted.entries()) {
    if (card.linears.some((linear) => matches(linear, target))) continue;
    const known = moduleNamesOf(card.linears).join(", ");
    complaints.push({
      path: `spec.tuning.targets[${index}]`,
      problem: `"${target}" is no linear of a ${card.architecture} layer; it has ${known}`,
    });
  }
  if (complaints.length > 0) return { ok: false, complaints };
  const linears = card.linears.filter((linear) => wanted.some((name) => matches(linear, name)));
  return {
    ok: true,
    linears,
    moduleNames: moduleNamesOf(linears),
    trainableElements: card.layers * linears.reduce((sum, one) => sum + r * widths(one), 0),
  };
}

/** Extra parameters of DoRA: one magnitude per output of an adapted linear. */
export function doraElements(card: ModelCard, linears: readonly Linear[]): number {
  return card.layers * linears.reduce((sum, linear) => sum + linear.outputs, 0);
}

function widths(linear: Linear): number {
  return linear.inputs + linear.outputs;
}

function matches(linear: Linear, target: string): boolean {
  return linear.name === target || linear.name.endsWith(`.${target}`);
}

function moduleNamesOf(linears: readonly Linear[]): string[] {
  return [...new Set(linears.map((linear) => linear.name.split(".").at(-1) ?? linear.name))];
}
