/** What happens to a job, and what becomes of what it wants done: all that `decide` hears. */
import type { MeasureView, Reason } from "@shardwright/job";
import type { LaneTime } from "./relief.ts";
import type {
  Holding,
  JobFacts,
  PreparedWriter,
  SaveKeyState,
  SaveState,
  SnapshotHolding,
} from "./state.ts";

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
  | {
      readonly kind: "stepped";
      readonly step: number;
      readonly facts: StepFacts | null;
      /** The newest of each rank since the last such event. */
      readonly laneTimes: readonly LaneTime[];
    }
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
