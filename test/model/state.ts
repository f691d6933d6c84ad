/** What the search knows of the world: the real core's state, and around it abstract agents, ranks and a desk. */
import type { Directive } from "../../packages/control-plane/src/core/directives.ts";
import type {
  JobEvent,
  MemberEvent,
  Outcome,
} from "../../packages/control-plane/src/core/events.ts";
import type {
  JobFacts,
  JobState,
  PreparedGeneration,
} from "../../packages/control-plane/src/core/state.ts";

/** Collectives of a rank: two while it joins, then three in each step. */
export const SETTLE = 0;
export const MOVE = 1;
export const FIRST_STEP = 2;
export const PER_STEP = 3;

/** A generation as its ranks are told it. */
export interface ToldPlan extends PreparedGeneration {
  /** Steps the journal held when it was sent. */
  readonly recordedStep: number;
}
export type Told =
  | Exclude<Directive, { readonly kind: "prepare" }>
  | { readonly kind: "prepare"; readonly key: string; readonly plan: ToldPlan };

export interface ModelRank {
  pid: number;
  place: "loading" | "waiting" | "joining" | "verdict" | "stepping";
  /** The generation it joins or runs in; null: it is in none. */
  plan: ToldPlan | null;
  /** Collective it stands at. */
  at: number;
  version: number;
  /** Of step version + 1: reduced here, or known to be reduced everywhere. */
  pending: "none" | "reduced" | "agreed";
  /** The generation whose blocks it has; null: no state. */
  held: ToldPlan | null;
  /** Runs, or ran last, in this one. */
  running: number;
  /** Asked to stop at the boundary. */
  leaves: boolean;
}

export interface ModelAgent {
  readonly member: string;
  readonly incarnation: number;
  connected: boolean;
  /** The control plane knows that the stream is broken. */
  noticed: boolean;
  /** On their way, in order. */
  up: MemberEvent[];
  down: Told[];
  /** Keys sent in this session. */
  told: readonly string[];
  /** Said again after a reconnect, in order. */
  standing: readonly (readonly [string, MemberEvent])[];
  /** Lanes not acknowledged, by step: a bit each. */
  steps: readonly (readonly [number, number])[];
  newest: number;
  prepared: ToldPlan | null;
  running: number;
  /** The slot's generation: what the agent itself knows its rank ran. */
  slotGeneration: number;
  waits: boolean;
  rank: ModelRank;
  /** Copies made for saves. */
  staged: readonly Staged[];
  /** Saves it was told to write and has not. */
  writes: readonly (Staged & { readonly saveId: string })[];
}

export interface Staged {
  readonly generation: number;
  readonly step: number;
  readonly writer: number;
}

/** A process group. All of its ranks are at the same collective or one apart. */
export interface ModelGang {
  readonly number: number;
  readonly size: number;
  broken: boolean;
  arrived: number;
  /** The last collective at which everybody had arrived. */
  complete: number;
  /** What each rank brought to the last meeting, by rank. */
  brought: readonly Brought[];
  /** Ranks that said they are ready. */
  ready: readonly number[];
  /** Highest version anybody applied in it. */
  applied: number;
}

export interface Brought {
  readonly rank: number;
  readonly version: number;
  readonly pending: ModelRank["pending"];
  readonly held: ToldPlan | null;
}

export interface ModelSave {
  readonly saveId: string;
  readonly step: number;
  readonly generation: number;
  readonly try: number;
  readonly writers: readonly number[];
  /** Ranks whose files are there. */
  written: readonly number[];
  prepared: readonly number[];
  status: "open" | "committed" | "aborted";
}

/** How much may still go wrong, or be asked for. */
export interface Budget {
  faults: number;
  /** Member counts that will be asked for, the next one first. */
  scales: readonly number[];
}

export interface ModelWorld {
  core: JobState;
  isUp: boolean;
  agents: ModelAgent[];
  gangs: ModelGang[];
  saves: ModelSave[];
  /** Lanes the journal holds, by step from 1: a bit each. */
  rows: readonly number[];
  /** Answers of the checkpoint-manager on their way, by effect. */
  answers: readonly (readonly [string, Outcome])[];
  /** Told late or twice: of broken streams, of ended processes. */
  late: readonly JobEvent[];
  pids: number;
  readonly facts: JobFacts;
  budget: Budget;
}

export interface Config {
  readonly name: string;
  readonly members: number;
  readonly method: "lora" | "full";
  readonly copies: number;
  readonly blocks: number;
  readonly totalSteps: number;
  readonly saveEverySteps: number;
  readonly faults: number;
  readonly kinds: ReadonlySet<FaultKind>;
  readonly scales: readonly number[];
}

export const FAULT_KINDS = [
  "rankDies",
  "memberDies",
  "reset",
  "resetLate",
  "twice",
  "crash",
  "early",
  "disk",
  "join",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export const LANES = 2;
export const ALL_LANES = 2 ** LANES - 1;

/** A world that may be changed without changing the one it was made from. */
export function draftOf(world: ModelWorld): ModelWorld {
  return {
    ...world,
    agents: world.agents.map((agent) => ({
      ...agent,
      up: [...agent.up],
      down: [...agent.down],
      rank: { ...agent.rank },
    })),
    gangs: world.gangs.map((gang) => ({ ...gang })),
    saves: world.saves.map((save) => ({ ...save })),
    budget: { ...world.budget },
  };
}

export class Violation extends Error {}

export function must(invariant: string, holds: boolean, detail: string): void {
  if (!holds) throw new Violation(`${invariant}: ${detail}`);
}
