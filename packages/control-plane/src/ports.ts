/** What the control plane needs of the world; adapters stand in store/, launch/ and checkpoints.ts. */
import type { JobDocument, JobStatusView, Reason } from "@shardwright/job";
import type { ClusterSnapshot } from "@shardwright/scheduler";
import type { GenerationRow, JobState, PreparedWriter, SaveKeyState } from "./core/state.ts";

/** One job as the journal keeps it. */
export interface JobRecord {
  readonly uid: string;
  readonly tenant: string;
  readonly name: string;
  /** Grows with every save; the compare-and-swap of `save`. */
  readonly revision: number;
  /** Journal-wide sequence of the last save: what watches resume from. */
  readonly sequence: number;
  readonly createdMs: number;
  readonly finishedMs: number | null;
  readonly document: JobDocument;
  readonly state: JobState;
  /** Projection for readers. */
  readonly status: JobStatusView;
}

export interface EventRow {
  readonly sequence: number;
  readonly tenant: string;
  readonly jobName: string;
  readonly uid: string;
  readonly timeMs: number;
  readonly reason: Reason;
  readonly generation: number;
  readonly step: number;
  readonly severity: "normal" | "warning";
}
export type EventDraft = Omit<EventRow, "sequence" | "tenant" | "jobName" | "uid">;

/** One lane of one step, as whoever computed it reported it. */
export interface LaneRow {
  /** Steps done, this one included. */
  readonly step: number;
  readonly lane: number;
  /** fp64; NaN when nobody who is left knows it. */
  readonly lossSum: number;
  readonly exampleIds: readonly number[];
  readonly trainedTokens: number;
  readonly processedTokens: number;
}

export interface Page {
  readonly tenant: string | null;
  readonly afterName: string;
  readonly limit: number;
}

/**
 * The journal. Every method that writes resolves when the write is durable; a crash between any two calls loses
 * nothing and repeats nothing. Everything is keyed by tenant.
 */
export interface JobStore {
  /** A new job; `exists` when (tenant, name) is taken by a job that is not deleted. */
  create(
    record: Omit<JobRecord, "revision" | "sequence">,
    events: readonly EventDraft[],
  ): Promise<"created" | "exists">;
  load(uid: string): Promise<JobRecord | null>;
  find(tenant: string, name: string): Promise<JobRecord | null>;
  /** By (tenant, name), ascending. */
  list(page: Page): Promise<readonly JobRecord[]>;
  /** Every job that is not over, or of which something is left to be cleaned up, by creation. */
  unfinished(): Promise<readonly JobRecord[]>;
  /** State, projection, events and generation row together, or nothing when the revision is not the expected one. */
  save(
    change: JobChange,
  ): Promise<{ readonly saved: true; readonly record: JobRecord } | { readonly saved: false }>;
  /** Forgets the job and its rows; watchers see it as deleted. Absent is success. */
  remove(uid: string): Promise<void>;
  close(): Promise<void>;
}

export interface JobChange {
  readonly uid: string;
  readonly expect: number;
  readonly state: JobState;
  readonly status: JobStatusView;
  readonly finishedMs: number | null;
  readonly events: readonly EventDraft[];
  readonly generation: GenerationRow | null;
}

/** Rows of steps, events and generations: append-only, written and read in bulk. */
export interface JobHistory {
  /**
   * Idempotent by (job, step, lane): a row that is there already stays, and must be equal in its example ids.
   * Resolves to the highest step whose `lanes` lanes are all there, without a gap from step 1.
   */
  recordLanes(uid: string, rows: readonly LaneRow[], lanes: number): Promise<number>;
  /** The example ids of every step up to `stepMax`, in (step, lane, position) order. */
  consumed(uid: string, stepMax: number): AsyncIterable<readonly number[]>;
  generations(uid: string): Promise<readonly GenerationRow[]>;
  events(query: {
    readonly tenant: string;
    readonly jobName: string | null;
    readonly afterSequence: number;
    readonly limit: number;
  }): Promise<readonly EventRow[]>;
  /** A mutation that was asked for with this id before, within a day: its answer, else null. */
  answered(tenant: string, requestId: string): Promise<string | null>;
  rememberAnswer(tenant: string, requestId: string, answer: string): Promise<void>;
}

/** Told after each durable change: of a job (uid) or of the events. Listeners must not throw. */
export interface Changes {
  subscribe(listener: (uid: string) => void): () => void;
  /** Highest sequence so far. */
  readonly sequence: number;
  /** Uids of jobs removed since this process started, with the sequence of their removal. */
  removedSince(sequence: number): readonly {
    readonly uid: string;
    readonly tenant: string;
    readonly name: string;
    readonly sequence: number;
  }[];
}

export interface MemberLaunch {
  readonly uid: string;
  readonly jobName: string;
  readonly member: string;
  readonly slot: number;
  readonly incarnation: number;
  readonly node: string;
  /** Handed over on an inherited file descriptor. */
  readonly token: string;
}

export interface RunningMember {
  readonly uid: string;
  readonly member: string;
  readonly incarnation: number;
  readonly pid: number;
}

/** Starts and stops members. Every call may be repeated. */
export interface Launcher {
  /** Starts the member unless it is running; resolves to its pid. */
  launchMember(launch: MemberLaunch): Promise<number>;
  /** SIGTERM, a grace, SIGKILL; to exactly this incarnation. Resolves when it is gone; gone already is success. */
  stopMember(uid: string, member: string, incarnation: number): Promise<void>;
  /** Every member of the job. */
  release(uid: string): Promise<void>;
  /** Members that run now, of any job, also those started before a restart of ours. */
  running(): Promise<readonly RunningMember[]>;
  /** Called once for each member that is gone, with what is known of its end. */
  onEnd(listener: (member: RunningMember, sentence: string) => void): void;
  /** The machine or cluster, without what our own jobs hold. */
  snapshot(): ClusterSnapshot;
  /** The rendezvous store; started if it is not running. */
  ensureStore(): Promise<{ readonly host: string; readonly port: number }>;
  /** Ends it: nobody makes a generation any more. None is success. */
  stopStore(): Promise<void>;
  /** Where the members of a job work: prepared data and staged saves. */
  workDirectory(uid: string): string;
  close(): Promise<void>;
}

/** What the control plane asks of the checkpoint-manager; the answers of CheckpointService as plain data. */
export interface Checkpoints {
  begin(request: {
    readonly run: string;
    readonly tenant: string;
    readonly jobName: string;
    readonly step: number;
    readonly generation: number;
    readonly trigger: string;
    readonly state: JobState;
  }): Promise<{
    readonly begun: {
      readonly key: SaveKeyState;
      readonly directory: string;
      readonly schemaSha256: string;
      readonly schemaJson: string;
      readonly crcBlockBytes: number;
    };
    /** Of this very save, when it is committed already. */
    readonly commit: string | null;
  }>;
  reportPrepared(
    key: SaveKeyState,
    prepared: PreparedWriter,
  ): Promise<{
    readonly status: "waiting" | "committed" | "aborted";
    readonly commit: string;
    readonly reason: Reason;
  }>;
  /** Resolves to its commit when the abort came too late, else to null. */
  abort(key: SaveKeyState, reason: string, detail: string): Promise<string | null>;
  head(
    run: string,
  ): Promise<{ readonly commit: string; readonly step: number; readonly path: string } | null>;
  hash(
    run: string,
    commit: string,
  ): Promise<{ readonly weightsSha256: string; readonly stateSha256: string }>;
  /** Resolves to the location of the finished export. */
  export(request: {
    readonly run: string;
    readonly commit: string;
    readonly format: string;
    readonly merge: boolean;
    readonly outputDirectory: string;
  }): Promise<string>;
  /** Removes every checkpoint of the run; of one that has none is success. */
  deleteRun(run: string): Promise<void>;
}

/** What a person may ask of a running job; implemented by the reconciler, used by the RPCs. */
export interface JobControl {
  /** A job was created or changed from outside: look again. */
  wake(uid: string): void;
  cancel(uid: string): Promise<void>;
  /** Wants this many members from now on. Fault `conflict` when the job does not run or there is no room. */
  scale(uid: string, members: number): Promise<void>;
  /**
   * Ends the job and forgets it, with its checkpoints where they are wanted gone: once this was decided, a crash delays
   * it and cannot undo it. Resolves when the job is gone; Fault `unavailable` when that takes longer, and it goes on.
   */
  remove(uid: string, checkpoints: boolean): Promise<void>;
}
