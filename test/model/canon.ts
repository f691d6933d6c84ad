/**
 * One text for worlds that behave alike. Generation numbers and incarnations keep their order only, process ids their
 * identity only; what people are told, and what nothing depends on any more, is left out. Why this is sound: README.md.
 */
import type { GenerationPlan, Live } from "../../packages/control-plane/src/core/state.ts";
import type { ModelGang, ModelWorld } from "./state.ts";

const GENERATION = new Set([
  "number",
  "generation",
  "lastGeneration",
  "running",
  "newest",
  "slotGeneration",
  "runningGeneration",
  "sourceGeneration",
  "targetGeneration",
]);
const LEFT_OUT = new Set([
  "reason",
  "sentence",
  "doing",
  "evidence",
  "seconds",
  "storePrefix",
  "committedMs",
  "brokenSinceMs",
  "launchedMs",
  "node",
  "facts",
  "told",
  "cause",
  "detail",
  "schemaSha256",
  "schemaJson",
  "directory",
  "crcBlockBytes",
  "run",
  "lanes",
]);

/** Canonical text of everything that may still matter. */
export function canonicalText(world: ModelWorld): string {
  const { core } = world;
  if (core.phase !== "active") return core.phase;
  const parts = {
    live: liveOf(core.live),
    effects: core.effects.map(({ id: _, ...effect }) => effect).sort(byText),
    up: world.isUp,
    agents: world.agents,
    gangs: usedGangs(world).map(gangText),
    saves: world.saves,
    rows: world.rows,
    answers: world.answers.map(([id, outcome]) => [named(id), outcome]).sort(byText),
    late: world.late.map((event) => ({ ...event })).sort(byText),
    budget: world.budget,
  };
  return renumbered(objectText(parts, ""));
}

function byText(one: unknown, other: unknown): number {
  const a = textOf(one, "", {});
  const b = textOf(other, "", {});
  return a < b ? -1 : Number(a > b);
}

function liveOf(live: Live): unknown {
  const { members, committed, prepared, discarded, seeking, store, save, nextSave, step } = live;
  return {
    members,
    incarnations: Object.entries(live.incarnations).map(([member, incarnation]) => ({
      member,
      incarnation,
    })),
    isLoaded: live.facts !== null,
    lastGeneration: live.lastGeneration,
    committed: committed && {
      ...planText(committed),
      mode: committed.mode,
      done: committed.finished,
    },
    prepared: prepared && { ...planText(prepared), ready: prepared.ready },
    discarded: discarded.map((generation) => ({ generation })),
    seeking,
    store: store && { generation: store.generation },
    judged: live.judgedPids.map((pid) => ({ pid })),
    waits: live.waitingSinceMs !== null,
    retry: live.retryAtMs > 0,
    step,
    save,
    nextSave,
    decided: live.decidedSaves,
    commit: live.lastCommit && { step: live.lastCommit.step, save: named(live.lastCommit.commit) },
  };
}

function planText({ number, seats, blockMap, source, step }: GenerationPlan): object {
  return { number, seats, runs: blockMap.runs, source, step };
}

/** Groups that a rank is in, or whose steps a living generation still stands on. */
function usedGangs({ gangs, agents, core }: ModelWorld): ModelGang[] {
  const live = "live" in core ? core.live : null;
  const used = new Set(
    agents.flatMap(({ rank }) => (rank.plan === null ? [] : [rank.plan.number])),
  );
  for (const plan of [live?.committed, live?.prepared]) if (plan) used.add(plan.number);
  return gangs.filter(({ number }) => used.has(number));
}

function gangText({ brought, ...gang }: ModelGang): unknown {
  return { ...gang, brought: gang.broken && gang.complete < gang.arrived ? [] : brought };
}

/** Keys and ids that carry numbers in their text. */
function named(id: string): string {
  return id
    .replace(/g(\d+)t/g, "g§$1°t")
    .replace(/^(begin:\d+|head|store):(\d+)$/, "$1:§$2°")
    .replace(/^(staged) (\d+)/, "$1 §$2°")
    .replace(/^(exit) (\d+)/, "$1 ¶$2°");
}

/** Values in order, without names: what a list of values means is said by its kind. */
function textOf(value: unknown, name: string, owner: object): string {
  switch (typeof value) {
    case "number":
      return numberText(value, name, owner);
    case "string":
      // Shorter ones carry no number.
      return value.length < 6 ? value : named(value);
    case "object":
      return value === null ? "-" : objectText(value, name);
    default:
      return String(value);
  }
}

function numberText(value: number, name: string, owner: object): string {
  if (name === "pid") return `¶${value}°`;
  if (value !== 0 && GENERATION.has(name)) return `§${value}°`;
  if (name !== "incarnation") return String(value);
  const { member, name: own } = owner as { readonly member?: string; readonly name?: string };
  return `¤${member ?? own ?? ""}.${value}°`;
}

function objectText(value: object, name: string): string {
  let text = "[";
  if (Array.isArray(value)) {
    for (const one of value) text += `${textOf(one, name, value)},`;
    return `${text}]`;
  }
  if ("blockMap" in value && "seats" in value) {
    const plan = value as GenerationPlan & { readonly recordedStep?: number };
    return `${objectText(planText(plan), name)}${plan.recordedStep ?? ""}`;
  }
  for (const key in value) {
    if (LEFT_OUT.has(key)) continue;
    const one = (value as Record<string, unknown>)[key];
    // A directive's key says again what its other fields say.
    if (key === "key" && typeof one === "string") continue;
    text += `${textOf(one, key, value)},`;
  }
  return `${text}]`;
}

const MARK = /[§¶¤]([^°]*)°/g;

function renumbered(text: string): string {
  const generations = new Set<number>();
  const incarnations = new Map<string, Set<number>>();
  for (const [whole, what = ""] of text.matchAll(MARK)) {
    if (whole[0] === "§") generations.add(Number(what));
    if (whole[0] !== "¤") continue;
    const [member = "", incarnation] = what.split(".");
    const known = incarnations.get(member) ?? new Set();
    incarnations.set(member, known.add(Number(incarnation)));
  }
  const order = [...generations].sort((a, b) => a - b);
  const orders = new Map(
    [...incarnations].map(([member, all]) => [member, [...all].sort((a, b) => a - b)]),
  );
  const pids = new Map<string, number>();
  return text.replace(MARK, (whole, what: string) => {
    if (whole[0] === "§") return `G${order.indexOf(Number(what)) + 1}`;
    if (whole[0] === "¶") {
      if (!pids.has(what)) pids.set(what, pids.size);
      return `P${pids.get(what)}`;
    }
    const [member = "", incarnation] = what.split(".");
    return `I${orders.get(member)?.indexOf(Number(incarnation))}`;
  });
}

/** 53 bits of a text; two worlds share one by chance once in a thousand runs of a million worlds. */
export function fingerprint(text: string): number {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    a = Math.imul(a ^ code, 2654435761);
    b = Math.imul(b ^ code, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return 4294967296 * (2097151 & b) + (a >>> 0);
}
