/** Breadth first over everything that can happen, then backwards from the ends: can every world still end? */

import { openLedger } from "../../packages/control-plane/src/core/ledger.ts";
import type { JobState } from "../../packages/control-plane/src/core/state.ts";
import { NOTHING_TALLIED } from "../../packages/control-plane/src/core/tally.ts";
import type { Core } from "../sim/plane.ts";
import { aPlan, aSpec, someFacts } from "../support/job-builder.ts";
import { canonicalText, fingerprint } from "./canon.ts";
import { type Move, movesOf } from "./moves.ts";
import { deliver } from "./plane.ts";
import { type Config, draftOf, LANES, type ModelWorld, Violation } from "./state.ts";

const BLOCK_ELEMENTS = 4;

export interface Found {
  readonly states: number;
  readonly moves: number;
  readonly depth: number;
  readonly ends: number;
  readonly seconds: number;
  /** The limit was reached: what lies behind it was not looked at. */
  readonly isCut: boolean;
  /** The shortest way to what must not be, a line a move; null when there is none. */
  readonly problem: { readonly what: string; readonly trace: readonly string[] } | null;
}

/** Growing columns of numbers: an array of objects would not fit. */
class Column {
  private data = new Int32Array(1 << 16);
  length = 0;
  push(value: number): void {
    if (this.length === this.data.length) {
      const wider = new Int32Array(2 * this.data.length);
      wider.set(this.data);
      this.data = wider;
    }
    this.data[this.length++] = value;
  }
  at(index: number): number {
    return this.data[index] ?? 0;
  }
}

interface Graph {
  readonly known: Map<number, number>;
  readonly parents: Column;
  readonly names: Column;
  readonly labels: Map<string, number>;
  /** Moves that need no fault. */
  readonly sources: Column;
  readonly targets: Column;
  readonly ends: number[];
}

export function search(config: Config, core: Core, statesMax: number): Found {
  const startedMs = performance.now();
  const graph: Graph = {
    known: new Map(),
    parents: new Column(),
    names: new Column(),
    labels: new Map(),
    sources: new Column(),
    targets: new Column(),
    ends: [],
  };
  const first = firstWorld(config, core);
  visit(graph, first, -1, "start");
  let level: (readonly [number, ModelWorld])[] = [[0, first]];
  let moves = 0;
  let depth = 0;
  const found = (problem: Found["problem"], isCut = false): Found => ({
    states: graph.known.size,
    moves,
    depth,
    ends: graph.ends.length,
    seconds: (performance.now() - startedMs) / 1000,
    isCut,
    problem,
  });
  while (level.length > 0) {
    const next: (readonly [number, ModelWorld])[] = [];
    for (const [id, world] of level) {
      if (world.core.phase !== "active") graph.ends.push(id);
      for (const move of movesOf(world, config, core)) {
        const made = tried(world, move);
        if (made === null) continue;
        moves++;
        if (typeof made === "string")
          return found({ what: made, trace: [...traceTo(graph, id), move.name] });
        const { target, isNew } = visit(graph, made, id, move.name);
        if (isNew) next.push([target, made]);
        if (!move.isFault) {
          graph.sources.push(id);
          graph.targets.push(target);
        }
      }
      if (graph.known.size > statesMax) return found(null, true);
    }
    level = next;
    depth++;
  }
  const stuck = firstThatCannotEnd(graph);
  if (stuck < 0) return found(null);
  return found({ what: "no end can be reached any more", trace: traceTo(graph, stuck) });
}

/** The world after a move, null when it changes nothing, or what it violates. */
function tried(world: ModelWorld, move: Move): ModelWorld | string | null {
  const draft = draftOf(world);
  try {
    return move.make(draft) === false ? null : draft;
  } catch (reason) {
    if (reason instanceof Violation) return reason.message;
    return `the core threw: ${String(reason instanceof Error ? reason.stack : reason)}`;
  }
}

function visit(
  graph: Graph,
  world: ModelWorld,
  parent: number,
  name: string,
): { target: number; isNew: boolean } {
  const print = fingerprint(canonicalText(world));
  const known = graph.known.get(print);
  if (known !== undefined) return { target: known, isNew: false };
  const target = graph.known.size;
  graph.known.set(print, target);
  const label = graph.labels.get(name) ?? graph.labels.size;
  graph.labels.set(name, label);
  graph.parents.push(parent);
  graph.names.push(label);
  return { target, isNew: true };
}

function traceTo(graph: Graph, state: number): string[] {
  const names = [...graph.labels.keys()];
  const trace: string[] = [];
  for (let at = state; at > 0; at = graph.parents.at(at))
    trace.push(names[graph.names.at(at)] ?? "");
  return trace.reverse();
}

/** Backwards from the ends over moves that need no fault; the first state, in order of depth, that is not met. */
function firstThatCannotEnd({ known, sources, targets, ends }: Graph): number {
  const states = known.size;
  const begins = new Int32Array(states + 1);
  for (let edge = 0; edge < targets.length; edge++) begins[targets.at(edge) + 1]!++;
  for (let state = 0; state < states; state++) begins[state + 1]! += begins[state]!;
  const filled = begins.slice();
  const before = new Int32Array(targets.length);
  for (let edge = 0; edge < targets.length; edge++)
    before[filled[targets.at(edge)]!++] = sources.at(edge);
  const met = new Uint8Array(states);
  const open = [...ends];
  for (const end of ends) met[end] = 1;
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (let edge = begins[state]!; edge < begins[state + 1]!; edge++) {
      const source = before[edge]!;
      if (met[source] === 1) continue;
      met[source] = 1;
      open.push(source);
    }
  }
  return met.indexOf(0);
}

/** Placed, every member launched and loaded: the start is not what is searched. */
function firstWorld(config: Config, core: Core): ModelWorld {
  const world: ModelWorld = {
    core: queued(config),
    isUp: true,
    agents: [],
    gangs: [],
    saves: [],
    rows: Array.from({ length: config.totalSteps }, () => 0),
    answers: [],
    late: [],
    pids: 0,
    facts: someFacts({
      elements: config.blocks * BLOCK_ELEMENTS,
      totalSteps: config.totalSteps,
    }),
    budget: { faults: config.faults, scales: config.scales },
  };
  const members = Array.from({ length: config.members }, (_, index) => ({
    name: `m${index}`,
    node: `n${index}`,
  }));
  deliver(world, { kind: "placed", members, reason: { code: "Placed", sentence: "" } }, core);
  const calm: Config = { ...config, faults: 0, scales: [] };
  const isPrepared = (): boolean => "live" in world.core && world.core.live?.prepared != null;
  while (!isPrepared()) {
    const move = movesOf(world, calm, core).find(({ isFault }) => !isFault);
    if (move === undefined) throw new Error("the first generation is not prepared");
    move.make(world);
  }
  return world;
}

function queued({ members, method, copies, blocks, saveEverySteps }: Config): JobState {
  const plan = aPlan();
  const spec = aSpec();
  const budget = { error: 9, oom: 9, communication: 9, hang: 9, node: 9, storage: 9 };
  return {
    phase: "queued",
    uid: "u",
    spec: {
      ...spec,
      tuning: { ...spec.tuning, method },
      faultBudget: budget,
      resources: {
        ...spec.resources,
        members: { replicas: members, min: 1, max: null, gpus: 1 },
      },
    },
    submittedPlan: {
      ...plan,
      ranks: members,
      members,
      ranksPerMember: 1,
      copies,
      blockElements: BLOCK_ELEMENTS,
      trainableElements: blocks * BLOCK_ELEMENTS,
      saveEverySteps,
      recipe: { ...plan.recipe, lanes: LANES },
    },
    reason: { code: "Submitted", sentence: "" },
    effects: [],
    ledger: openLedger(0),
    tallies: NOTHING_TALLIED,
    sinceMs: 0,
  };
}
