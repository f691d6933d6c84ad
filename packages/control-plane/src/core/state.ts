/**
 * Everything the control plane knows of one job, as plain JSON: it is what the journal keeps, so it holds no
 * Date, Map or bigint. `decide` is the only writer.
 */
import type { JobSpec, MeasureView, Reason } from "@shardwright/job";
import type {
  BlockMap,
  BlockSpan,
  FlatLayout,
  LaneRange,
  ParallelPlan,
  TransferPlan,
} from "@shardwright/planner";
import type { Ledger } from "./ledger.ts";
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

export type HeadAnswer =
  | { readonly kind: "none" }
  | {
      readonly kind: "commit";
      readonly commit: string;
      readonly step: number;
      readonly directory: string;
    };

/** What happened. Messages of members carry (member, incarnation); those of another one are dropped. */
export type JobEvent =
  | { readonly kind: "tick" }
  | { readonly kind: "waits"; readonly reason: Reason }
  | {
      readonly kind: "placed";
      readonly members: readonly { name: string; node: string }[];
      readonly reason: Reason;
    }
  | { readonly kind: "cancel" }
  /** Forget the job, and its checkpoints where they are wanted gone. */
  | { readonly kind: "delete"; readonly checkpoints: boolean }
  /** The control plane stops cleanly, and the members with it: nothing is held until it is back. */
  | { readonly kind: "parked" }
  /** Every member that is wanted from now on, by slot. */
  | { readonly kind: "scale"; readonly members: readonly { name: string; node: string }[] }
  | { readonly kind: "stepped"; readonly step: number; readonly facts: StepFacts | null }
  | { readonly kind: "settled"; readonly effectId: string; readonly outcome: Outcome }
  | MemberEvent;

export type MemberEvent = { readonly member: string; readonly incarnation: number } & (
  | {
      readonly kind: "hello";
      readonly pid: number;
      readonly loaded: boolean;
      readonly runningGeneration: number;
    }
  | { readonly kind: "loading"; readonly doing: string }
  | {
      readonly kind: "loaded";
      readonly facts: JobFacts;
      readonly ranks: readonly { localRank: number; pid: number; holding: Holding | null }[];
    }
  | {
      readonly kind: "ready";
      readonly generation: number;
      readonly evidence: readonly Evidence[];
      readonly seconds: number;
    }
  | { readonly kind: "generationFailed"; readonly generation: number; readonly reason: Reason }
  | {
      readonly kind: "interrupted";
      readonly generation: number;
      readonly ranks: readonly { localRank: number; pid: number; holding: Holding }[];
    }
  | {
      readonly kind: "rankExit";
      readonly localRank: number;
      readonly pid: number;
      readonly cause: string;
      readonly sentence: string;
      readonly respawning: boolean;
    }
  | {
      readonly kind: "staged";
      readonly generation: number;
      readonly step: number;
      readonly trigger: "periodic" | "final";
    }
  | { readonly kind: "wrote"; readonly key: SaveKeyState; readonly prepared: PreparedWriter }
  | {
      readonly kind: "saveFailed";
      readonly key: SaveKeyState;
      readonly writer: number;
      readonly reason: Reason;
    }
  | { readonly kind: "finished"; readonly generation: number; readonly step: number }
  | { readonly kind: "snapshots"; readonly snapshots: readonly SnapshotHolding[] }
  | { readonly kind: "hung"; readonly localRank: number; readonly sentence: string }
  | { readonly kind: "leaving"; readonly why: string }
  | { readonly kind: "streamLost" }
  | { readonly kind: "gone"; readonly cause: "node" | "restart"; readonly sentence: string }
);

/** The last step as its ranks reported it, for people. */
export interface StepFacts {
  readonly loss: number;
  readonly gradNorm: number;
  readonly learningRate: number;
  /** Of the step. */
  readonly seconds: number;
  /** Learned, and all, tokens since the job began. */
  readonly trainedTokens: number;
  readonly processedTokens: number;
  /** Over the last batches of steps. */
  readonly meanSeconds: number;
  readonly tokensPerSecond: number;
  readonly measured: MeasureView;
  readonly atMs: number;
}

/** What a rank really has; checked against the map before a generation is committed. */
export interface Evidence {
  readonly rank: number;
  readonly ownedBlocks: number;
  readonly replicaBlocks: number;
  readonly version: number;
  /** Of state, to and from other ranks; parameters and checksums are not among them. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** What became of an effect. `failed` is tried again by the shell unless it says `final`. */
export type Outcome =
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly reason: Reason }
  | { readonly kind: "store"; readonly host: string; readonly port: number }
  | { readonly kind: "head"; readonly head: HeadAnswer }
  | {
      readonly kind: "begun";
      readonly begun: NonNullable<SaveState["begun"]>;
      /** Of this very save, when it is committed already: nothing is written again. */
      readonly commit: string | null;
    }
  /** What the checkpoint-manager says to an abort: the commit when it came too late, null when it is aborted. */
  | { readonly kind: "abortAnswered"; readonly commit: string | null }
  | {
      readonly kind: "save";
      readonly status: "waiting" | "committed" | "aborted";
      readonly commit: string;
      readonly reason: Reason;
    }
  | {
      readonly kind: "hashes";
      readonly weightsSha256: string;
      readonly stateSha256: string;
      readonly consumedSha256: string;
    }
  | { readonly kind: "exported"; readonly location: string };

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

/** Waits and limits; defaults in `POLICY_DEFAULT`. Milliseconds unless the name says otherwise. */
export interface Policy {
  /** From the first loaded member on, others are waited for at most this long. */
  readonly stragglerWaitMs: number;
  readonly formationTimeoutMs: number;
  readonly formationTriesMax: number;
  readonly formationBackoffMs: number;
  /** A member whose stream is broken counts as lost after this, when its peers wait for it. */
  readonly silenceMs: number;
  /** A member that was never heard, or does not load, is lost after this. */
  readonly launchMs: number;
  readonly saveDeadlineMs: number;
  /** Budgets are given back after so many further steps. */
  readonly refundSteps: number;
  readonly decidedSavesKept: number;
  /** A living member that does not say where its ranks stopped is given up after this. */
  readonly boundaryWaitMs: number;
}

export const POLICY_DEFAULT: Policy = {
  // Members of one machine load within seconds of one another; a slow disk takes longer.
  stragglerWaitMs: 120_000,
  formationTimeoutMs: 60_000,
  formationTriesMax: 8,
  formationBackoffMs: 200,
  // Three missed beats, then some: the agent reconnects with a backoff of at most 10 s.
  silenceMs: 12_000,
  // Loading a large model from a slow disk; longer is a hang.
  launchMs: 900_000,
  saveDeadlineMs: 1_800_000,
  refundSteps: 50,
  decidedSavesKept: 8,
  // A rank stops at the end of its step at the latest; hung ones are named by their agent before that.
  boundaryWaitMs: 300_000,
};
