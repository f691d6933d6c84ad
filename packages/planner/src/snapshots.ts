/**
 * The tier between live replicas and checkpoints: copies of blocks in the memory of the members' agents, every k
 * steps. Losing every live holder of a block then costs at most k steps instead of those since the last checkpoint.
 */
import type { Reason } from "@shardwright/job";
import { fitsDevice } from "./memory.ts";
import { HOST_COPY_BYTES_PER_SECOND } from "./save-interval.ts";

/** One member's agent may die with a copy: two members have it where there are two. */
export const SNAPSHOT_COPIES = 2;
/** What snapshots may add to the time of a step, on average over k steps. */
export const SNAPSHOT_OVERHEAD_MAX = 0.03;
/** An agent keeps two, and its rank writes the next before the older one is let go; what a partner sends comes first. */
const SLOTS_MAX = 3;
/** One file and two messages, whatever their size: measured 1 to 2 ms on a busy machine. */
const FIXED_SECONDS = 2e-3;
/** Between members: 100 Gb/s, until it was measured. Prior. */
const NETWORK_BYTES_PER_SECOND = 12.5e9;

export interface SnapshotQuestion {
  /** Master and moments of the whole job, bytes. */
  readonly stateBytes: number;
  readonly ranks: number;
  readonly members: number;
  /** Live copies of every block, the owner's included. */
  readonly copies: number;
  readonly stepSeconds: number;
  readonly saveEverySteps: number;
  /** Bytes per second between two ranks. */
  readonly linkBytesPerSecond: number;
  /** Predicted peak and memory of a rank where host memory is what it computes in; null where it is not. */
  readonly host: { readonly peakBytes: number; readonly bytesPerRank: number } | null;
}

export interface SnapshotChoice {
  /** k: steps between two snapshots; 0 = none are taken. */
  readonly everySteps: number;
  /** Bytes that a rank puts into its agent's memory each time. */
  readonly bytesPerRank: number;
  /** Seconds that a step boundary takes longer for it. */
  readonly seconds: number;
  readonly reason: Reason;
}

/**
 * The smallest k that costs at most 3 % of the time:
 *
 *     k = ⌈T / (0.03 · t_step)⌉,  T = T₀ + (c·S/N) / B_host + w / B_wire
 *
 * S: bytes of state; N: ranks; c: copies kept, 2 where there are two members, else 1; w: bytes that a partner has to be
 * sent, S/N where it does not hold the blocks live, else 0; T₀ = 2 ms. None are taken where checkpoints come as
 * often, or where two kept and one being written do not fit beside the predicted peak.
 */
export function chooseSnapshots(question: SnapshotQuestion): SnapshotChoice {
  const { stateBytes, ranks, members, copies, stepSeconds, saveEverySteps } = question;
  const kept = Math.min(SNAPSHOT_COPIES, members);
  const bytesPerRank = Math.ceil((kept * stateBytes) / ranks);
  const isSent = kept > copies;
  const wire = Math.min(question.linkBytesPerSecond, NETWORK_BYTES_PER_SECOND);
  const sentBytes = isSent ? Math.ceil(((kept - copies) * stateBytes) / ranks) : 0;
  const seconds = FIXED_SECONDS + bytesPerRank / HOST_COPY_BYTES_PER_SECOND + sentBytes / wire;
  const everySteps = Math.max(1, Math.ceil(seconds / (SNAPSHOT_OVERHEAD_MAX * stepSeconds)));
  const off = (code: string, sentence: string): SnapshotChoice => {
    return { everySteps: 0, bytesPerRank, seconds, reason: { code, sentence } };
  };
  if (everySteps > saveEverySteps) {
    return off(
      "CheckpointsAreAsNear",
      `snapshots in memory would cost more than 3 % of the time if taken more often than every ${everySteps} steps, and a checkpoint is written every ${saveEverySteps}`,
    );
  }
  const { host } = question;
  const neededBytes = (host?.peakBytes ?? 0) + SLOTS_MAX * bytesPerRank + sentBytes;
  if (host !== null && !fitsDevice(neededBytes, host.bytesPerRank)) {
    return off(
      "SnapshotsDoNotFit",
      `snapshots of ${bytesPerRank} bytes a rank do not fit into memory beside training`,
    );
  }
  const partner = isSent ? ", sent to a partner member" : "";
  return {
    everySteps,
    bytesPerRank,
    seconds,
    reason: {
      code: "SnapshotsTaken",
      sentence: `every ${everySteps} steps each rank copies ${bytesPerRank} bytes of state into its agent's memory${partner}`,
    },
  };
}
