import type { Reason } from "@shardwright/job/faults";
import { commitKey, type SaveName } from "./commit-key.ts";

/** What a writer says it has finished. */
export interface Prepared {
  readonly writer: number;
  readonly incarnation: number;
  /** Relative to the save's folder. */
  readonly manifestPath: string;
  readonly manifestSha256: string;
  readonly bytes: number;
}

/** The one outcome of a save, as its register says. */
export type Outcome =
  | { readonly status: "committed"; readonly bytes: number }
  | { readonly status: "aborted"; readonly reason: Reason };

/** One try to write a checkpoint of (run, step, generation). */
export type SaveState =
  | {
      readonly phase: "open";
      readonly save: SaveName;
      readonly saveId: string;
      /** Ranks that own blocks and must all prepare. */
      readonly writers: readonly number[];
      readonly prepared: ReadonlyMap<number, Prepared>;
    }
  | {
      /** Every writer is done; the proof and the register are being made. New incarnations come too late. */
      readonly phase: "proving";
      readonly save: SaveName;
      readonly saveId: string;
      readonly prepared: ReadonlyMap<number, Prepared>;
    }
  | {
      readonly phase: "decided";
      readonly save: SaveName;
      readonly saveId: string;
      readonly outcome: Outcome;
    };

export type SaveEvent =
  | {
      readonly kind: "prepared";
      readonly save: SaveName;
      readonly saveId: string;
      readonly prepared: Prepared;
    }
  | {
      readonly kind: "abort";
      readonly save: SaveName;
      readonly saveId: string;
      readonly reason: Reason;
    }
  /** Coverage does not hold: this save can never become a checkpoint. */
  | { readonly kind: "refuted"; readonly reason: Reason }
  /** The register says so now; from our own write or somebody else's. */
  | { readonly kind: "decided"; readonly outcome: Outcome };

/** What must be done next; each may run twice. */
export type SaveEffect =
  | { readonly kind: "prove"; readonly prepared: readonly Prepared[] }
  | { readonly kind: "writeAborted"; readonly reason: Reason };

export interface SaveDecision {
  readonly state: SaveState;
  readonly effect: SaveEffect | null;
  /** Set when the event was not for this save or came too late: the caller is told, nothing changes. */
  readonly refused: Reason | null;
}

/**
 * The life of one save: open until every writer has prepared or it is aborted; then proven, then decided by
 * its register for ever. A message of another save, generation or try changes nothing.
 */
export function decideSave(state: SaveState, event: SaveEvent): SaveDecision {
  if ("save" in event && !isFor(state, event)) {
    return stay(state, fenced(state, event.save));
  }
  switch (state.phase) {
    case "open":
      return whileOpen(state, event);
    case "proving":
      return whileProving(state, event);
    case "decided":
      return stay(state, null);
    default:
      return unreachable(state);
  }
}

/** The start of a save. A save without writers is nothing to wait for and must not be begun. */
export function openSave(save: SaveName, saveId: string, writers: readonly number[]): SaveState {
  if (writers.length === 0) throw new RangeError(`save ${commitKey(save)} has no writer`);
  return { phase: "open", save, saveId, writers, prepared: new Map() };
}

type In<P extends SaveState["phase"]> = Extract<SaveState, { phase: P }>;

function whileOpen(state: In<"open">, event: SaveEvent): SaveDecision {
  switch (event.kind) {
    case "prepared":
      return takePrepared(state, event.prepared);
    case "abort":
    case "refuted":
      return { state, effect: { kind: "writeAborted", reason: event.reason }, refused: null };
    case "decided":
      return settle(state, event.outcome);
    default:
      return unreachable(event);
  }
}

function takePrepared(state: In<"open">, prepared: Prepared): SaveDecision {
  const { writer, incarnation } = prepared;
  if (!state.writers.includes(writer)) {
    return stay(state, {
      code: "UnknownWriter",
      sentence: `writer ${writer} owns no block in this save`,
    });
  }
  const known = state.prepared.get(writer);
  if (known !== undefined && known.incarnation > incarnation) {
    const sentence = `writer ${writer} incarnation ${incarnation} is older than ${known.incarnation}`;
    return stay(state, { code: "OldIncarnation", sentence });
  }
  const all = new Map(state.prepared).set(writer, prepared);
  if (state.writers.some((one) => !all.has(one))) {
    return { state: { ...state, prepared: all }, effect: null, refused: null };
  }
  const { save, saveId } = state;
  return {
    state: { phase: "proving", save, saveId, prepared: all },
    effect: prove(all),
    refused: null,
  };
}

function whileProving(state: In<"proving">, event: SaveEvent): SaveDecision {
  switch (event.kind) {
    case "prepared":
      // Said again, or a crash lost the proof: prove what was chosen, never another incarnation.
      return { state, effect: prove(state.prepared), refused: null };
    case "abort":
    case "refuted":
      return { state, effect: { kind: "writeAborted", reason: event.reason }, refused: null };
    case "decided":
      return settle(state, event.outcome);
    default:
      return unreachable(event);
  }
}

function prove(prepared: ReadonlyMap<number, Prepared>): SaveEffect {
  return {
    kind: "prove",
    prepared: [...prepared.values()].sort((one, other) => one.writer - other.writer),
  };
}

function settle(state: SaveState, outcome: Outcome): SaveDecision {
  const { save, saveId } = state;
  return { state: { phase: "decided", save, saveId, outcome }, effect: null, refused: null };
}

function stay(state: SaveState, refused: Reason | null): SaveDecision {
  return { state, effect: null, refused };
}

function isFor(
  state: SaveState,
  event: { readonly save: SaveName; readonly saveId: string },
): boolean {
  return event.saveId === state.saveId && commitKey(event.save) === commitKey(state.save);
}

function fenced(state: SaveState, other: SaveName): Reason {
  const sentence = `save ${commitKey(other)} is not the current one, ${commitKey(state.save)}`;
  return { code: "SWC_FENCED", sentence };
}

function unreachable(value: never): never {
  throw new Error(`unexpected ${JSON.stringify(value)}`);
}
