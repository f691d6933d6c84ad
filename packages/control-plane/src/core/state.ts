/**
 * Everything the control plane knows of one job, as plain JSON: it is what the journal keeps, so it holds no
 * Date, Map or bigint. `decide` is the only writer.
 */
import type { JobSpec, Reason } from "@shardwright/job";
import type {
  BlockMap,
  BlockSpan,
  FlatLayout,
  LaneRange,
  ParallelPlan,
  TransferPlan,
} from "@shardwright/planner";
import type { HeadAnswer, StepFacts } from "./events.ts";
import type { Ledger } from "./ledger.ts";
import type { Pace } from "./relief.ts";
import type { Tallies } from "./tally.ts";

/** What one rank process holds, as it reported. */
export interface Holding {
  /** Generation whose block map it follows; 0 = nothing. */
  readonly generation: number;
  /** Rank in that generation. */
  readonly rank: number;
  /** Steps applied to every held block. */
  readonly version: number;
  /** Step version + 1 passed its commit point here: it can be finished from what this rank holds. */
  readonly pending: boolean;
}

/** A rank process of a member. */
export interface RankSlot {
  readonly localRank: number;
  readonly pid: number;
  /** `loading` has no model yet; `idle` waits at a boundary and has said what it holds; `busy` runs or adopts. */
  readonly state: "loading" | "idle" | "busy";
  readonly holding: Holding | null;
}

/** What one agent keeps of one snapshot: blocks as they were when `step` steps were done, in that generation. */
export interface SnapshotHolding {
  readonly generation: number;
  readonly step: number;
  readonly blocks: readonly BlockSpan[];
  readonly bytes: number;
}

/** A generation of the run as it is now, and the last of its steps that was not undone; null: none was. */
export interface LineEntry {
  readonly generation: number;
  readonly until: number | null;
}

export interface MemberState {
  readonly name: string;
  readonly slot: number;
  readonly node: string;
  readonly incarnation: number;
  /** `launching` was never heard; `loading` is; `loaded` has every rank in memory; `lost` is gone for good. */
  readonly state: "launching" | "loading" | "loaded" | "lost";
  readonly pid: number;
  /** null while its stream is open; else when it broke (Unix ms). */
  readonly silentSinceMs: number | null;
  readonly ranks: readonly RankSlot[];
  /** What its agent keeps in memory; gone with the agent, not with its ranks. */
  readonly snapshots: readonly SnapshotHolding[];
  readonly launchedMs: number;
  /** Asked to leave: seated until the next generation, then ended and forgotten. */
  readonly leaving: boolean;
  /** It leaves by its own notice: another incarnation takes its slot when it has left. */
  readonly returns: boolean;
  /** What it is doing while it loads, for people. */
  readonly doing: string;
}

/** Facts every member must agree on, from the first `Loaded`. */
export interface JobFacts {
  readonly layout: FlatLayout;
  readonly dataDigest: string;
  readonly recipeSha256: string;
  readonly totalSteps: number;
  readonly stepsPerEpoch: number;
  readonly rows: number;
  readonly trainedTokens: number;
  readonly externalJson: string;
  readonly loraJson: string;
  readonly templateJson: string;
}

/** One rank's place in a generation. */
export interface Seat {
  readonly rank: number;
  readonly member: string;
  readonly slot: number;
  readonly incarnation: number;
  readonly localRank: number;
  readonly pid: number;
}

export type Source =
  | { readonly kind: "fresh" }
  | { readonly kind: "live"; readonly targetVersion: number; readonly transfer: TransferPlan }
  /** Taken by `generation` when `step` steps were done; from the memory of the agents. */
  | {
      readonly kind: "snapshot";
      readonly generation: number;
      readonly step: number;
      readonly transfer: TransferPlan;
    }
  | {
      readonly kind: "checkpoint";
      readonly commit: string;
      readonly directory: string;
      readonly step: number;
    };

/** A generation as it is sent to its members. */
export interface GenerationPlan {
  readonly number: number;
  readonly seats: readonly Seat[];
  /** Ranks of leaving members that give away what nobody else holds; numbered after the seats, released at commit. */
  readonly leavers: readonly Seat[];
  readonly blockMap: BlockMap;
  readonly lanes: readonly LaneRange[];
  readonly source: Source;
  /** Steps done when it starts. */
  readonly step: number;
  readonly reason: Reason;
  readonly storePrefix: string;
}

/** Prepared, not committed: nothing runs in it. */
export interface PreparedGeneration extends GenerationPlan {
  readonly sinceMs: number;
  /** Members whose ranks are connected and verified. */
  readonly ready: readonly string[];
}

export interface CommittedGeneration extends GenerationPlan {
  readonly committedMs: number;
  /** Members that finished the last step in it. */
  readonly finished: readonly string[];
  /** `running`; `pausing` was asked to stop at a boundary; `broken` lost somebody: its ranks are or will be idle. */
  readonly mode: "running" | "pausing" | "broken";
  readonly brokenSinceMs: number | null;
}

export interface SaveKeyState {
  readonly run: string;
  readonly step: number;
  readonly generation: number;
  readonly try: number;
  readonly saveId: string;
}

/** The one save in flight. */
export interface SaveState {
  readonly step: number;
  readonly generation: number;
  readonly trigger: "periodic" | "final";
  readonly sinceMs: number;
  /** Members with staged blocks, by name. */
  readonly staged: readonly string[];
  /** null until BeginSave answered. */
  readonly begun: {
    readonly key: SaveKeyState;
    readonly directory: string;
    readonly schemaSha256: string;
    readonly schemaJson: string;
    readonly crcBlockBytes: number;
  } | null;
  /** Members whose generation seats it was staged from; if one of them is lost before it wrote, the save is over. */
  readonly members: readonly string[];
}

/** A decision about a save, kept a while so that members that were away hear of it. */
export interface DecidedSave {
  readonly step: number;
  readonly generation: number;
  readonly key: SaveKeyState | null;
  readonly status: "committed" | "aborted";
  /** Why it was aborted, a word; empty when it was committed. */
  readonly why: string;
}

/** Work the shell does outside; performed at least once, its outcome comes back as an event with this id. */
export type Effect = { readonly id: string } & (
  | {
      readonly kind: "launchMember";
      readonly member: string;
      readonly slot: number;
      readonly incarnation: number;
      readonly node: string;
    }
  | { readonly kind: "stopMember"; readonly member: string; readonly incarnation: number }
  | { readonly kind: "ensureStore"; readonly generation: number }
  | { readonly kind: "chooseHead"; readonly generation: number }
  | {
      readonly kind: "beginSave";
      readonly step: number;
      readonly generation: number;
      readonly trigger: string;
    }
  | {
      readonly kind: "reportPrepared";
      readonly key: SaveKeyState;
      readonly prepared: PreparedWriter;
    }
  | {
      readonly kind: "abortSave";
      readonly key: SaveKeyState;
      readonly reason: string;
      readonly detail: string;
    }
  | { readonly kind: "hash"; readonly commit: string }
  | { readonly kind: "export"; readonly commit: string; readonly index: number }
  | {
      readonly kind: "restartRank";
      readonly member: string;
      readonly incarnation: number;
      readonly localRank: number;
      readonly reason: string;
    }
  | { readonly kind: "release"; readonly why: string }
  /** The job is deleted (erasure.ts): done last, and tried until it is done. */
  | { readonly kind: "erase"; readonly checkpoints: boolean; readonly tries: number }
);

export interface PreparedWriter {
  readonly writer: number;
  readonly incarnation: number;
  readonly manifestPath: string;
  readonly manifestSha256: string;
  readonly bytes: number;
}

/** Causes with a budget of their own. */
export type BudgetCause = "error" | "oom" | "communication" | "hang" | "node" | "storage";
export type Spent = Readonly<Record<BudgetCause, number>>;

export interface Recoveries {
  readonly count: number;
  readonly stepsRedone: number;
  readonly lastCause: string;
  readonly lastSeconds: number;
}

/** What is known while members exist. */
export interface Live {
  readonly plan: ParallelPlan;
  readonly members: readonly MemberState[];
  /** The highest incarnation of each member's name, also of members that left. */
  readonly incarnations: Readonly<Record<string, number>>;
  readonly facts: JobFacts | null;
  /** The highest number ever used. */
  readonly lastGeneration: number;
  readonly committed: CommittedGeneration | null;
  /** Committed generations, oldest first: which snapshots are of this run. */
  readonly line: readonly LineEntry[];
  readonly prepared: PreparedGeneration | null;
  /** Numbers of generations that were given up after they were prepared; members may still believe in them. */
  readonly discarded: readonly number[];
  /** Set while the source of the next generation is being asked for. */
  readonly seeking: { readonly generation: number; readonly head: HeadAnswer | null } | null;
  /** Where the rendezvous store is; asked for anew for each generation. */
  readonly store: {
    readonly host: string;
    readonly port: number;
    readonly generation: number;
  } | null;
  /** Rank processes whose end was judged: it is told again until the agent is heard. */
  readonly judgedPids: readonly number[];
  /** Since when ranks have been waited for to say where they stopped; null: nobody is. */
  readonly waitingSinceMs: number | null;
  /** Failed tries to make a generation since the last commit. */
  readonly formationTries: number;
  readonly retryAtMs: number;
  /** Steps whose every lane the journal holds, without a gap. */
  readonly step: number;
  readonly progress: StepFacts | null;
  /** How fast the ranks of the committed generation compute. */
  readonly paces: readonly Pace[];
  readonly save: SaveState | null;
  /** The final save, staged while an older one is still written. */
  readonly nextSave: SaveState | null;
  readonly decidedSaves: readonly DecidedSave[];
  readonly lastCommit: {
    readonly step: number;
    readonly commit: string;
    readonly committedMs: number;
  } | null;
  readonly spent: Spent;
  /** Step at which budgets were last refunded. */
  readonly refundedAt: number;
  readonly recoveries: Recoveries;
  /** When the running fault began and why; null while all is well. */
  readonly fault: {
    readonly cause: string;
    readonly sinceMs: number;
    readonly step: number;
  } | null;
}

export type JobState = JobBase &
  (
    | { readonly phase: "queued" }
    | { readonly phase: "active"; readonly live: Live }
    | {
        readonly phase: "finishing";
        readonly live: Live;
        readonly commit: string;
        readonly hashes: {
          readonly weightsSha256: string;
          readonly stateSha256: string;
          readonly consumedSha256: string;
        } | null;
        /** Location of each export, null until it is done. */
        readonly exports: readonly (string | null)[];
      }
    | {
        readonly phase: "complete";
        readonly live: Live;
        readonly result: FinalResult;
      }
    | { readonly phase: "failed" | "cancelled"; readonly live: Live | null }
  );

/** The job in this phase. */
export type In<P extends JobState["phase"]> = Extract<JobState, { readonly phase: P }>;

/** What is known while members exist, and after they are gone; null where there were none. */
export function liveOf(state: JobState): Live | null {
  return "live" in state ? state.live : null;
}

export interface FinalResult {
  readonly weightsSha256: string;
  readonly stateSha256: string;
  readonly consumedSha256: string;
  readonly artifacts: readonly { readonly format: string; readonly location: string }[];
}

/** In every phase. */
export interface JobBase {
  readonly uid: string;
  readonly spec: JobSpec;
  /** As planned at submit. */
  readonly submittedPlan: ParallelPlan;
  readonly reason: Reason;
  readonly effects: readonly Effect[];
  readonly ledger: Ledger;
  readonly tallies: Tallies;
  /** When each condition last changed, by type. */
  readonly sinceMs: number;
}

/** An event for people, with the step and generation it belongs to. */
export interface Told {
  readonly reason: Reason;
  readonly severity: "normal" | "warning";
}

export interface Decision {
  readonly state: JobState;
  readonly told: readonly Told[];
  /** Set when a generation was committed: the row of its history. */
  readonly generation: GenerationRow | null;
}

export interface GenerationRow {
  readonly generation: number;
  readonly step: number;
  readonly reason: Reason;
  readonly worldSize: number;
  readonly movedBytes: number;
  readonly seconds: number;
  readonly source: string;
  readonly committedMs: number;
}
