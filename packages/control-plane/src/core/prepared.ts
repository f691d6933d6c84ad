/** A generation that is prepared: giving it up, and checking what its members say they hold. */
import type { Reason } from "@shardwright/job";
import { heldBlocks, ownedBlocks } from "@shardwright/planner";
import type { Evidence } from "./events.ts";
import type { GenerationPlan, PreparedGeneration, Seat, Source } from "./state.ts";
import { change, type Turn, tell } from "./turn.ts";

/** A generation given up is remembered this long: a member that was away must still hear of it. */
const DISCARDED_KEPT = 8;

/** Everybody who takes part in making a generation, those who leave with it included. */
export function partakers(plan: GenerationPlan | null): readonly Seat[] {
  return plan === null ? [] : [...plan.seats, ...plan.leavers];
}

/** Forgets the prepared generation; its number stays used. Too many in a row end the job. */
export function discardPrepared(turn: Turn, reason: Reason): void {
  const { live, now, policy } = turn;
  if (live.prepared === null) return;
  const tries = live.formationTries + 1;
  change(turn, {
    prepared: null,
    discarded: [...live.discarded, live.prepared.number].slice(-DISCARDED_KEPT),
    formationTries: tries,
    retryAtMs: now + policy.formationBackoffMs * tries,
  });
  tell(
    turn,
    "GenerationDiscarded",
    `generation ${live.prepared.number}: ${reason.sentence}`,
    "warning",
  );
  if (tries >= policy.formationTriesMax) {
    turn.failed = {
      code: "GenerationImpossible",
      sentence: `${tries} generations in a row could not be made; the last: ${reason.sentence}`,
    };
  }
}

/** Why this member's ranks are not what the plan says; null when they are. */
export function evidenceFault(
  prepared: PreparedGeneration,
  member: string,
  evidence: readonly Evidence[],
): Reason | null {
  for (const seat of partakers(prepared).filter((one) => one.member === member)) {
    const found = evidence.find(({ rank }) => rank === seat.rank);
    const owned = ownedBlocks(prepared.blockMap, seat.rank);
    const replicas = heldBlocks(prepared.blockMap, seat.rank) - owned;
    if (
      found?.ownedBlocks !== owned ||
      found.replicaBlocks !== replicas ||
      found.version !== prepared.step
    ) {
      const sentence = `rank ${seat.rank} of ${member} reports ${found?.ownedBlocks} owned and ${found?.replicaBlocks} replica blocks at step ${found?.version}; the map says ${owned} and ${replicas} at step ${prepared.step}`;
      return { code: "EvidenceMismatch", sentence };
    }
    const planned = bytesPlanned(prepared.source, seat.rank);
    if (found.sentBytes !== planned.sent || found.receivedBytes !== planned.received) {
      const sentence = `rank ${seat.rank} of ${member} reports ${found.sentBytes} bytes of state sent and ${found.receivedBytes} received; the transfer plan says ${planned.sent} and ${planned.received}`;
      return { code: "EvidenceMismatch", sentence };
    }
  }
  return null;
}

/** Bytes of state that go from rank to rank when a generation starts from this source. */
export function movedBytes(source: Source): number {
  return "transfer" in source ? source.transfer.totalBytes : 0;
}

/** Bytes of state that cross the wire from and to a rank; what it reads from anywhere else is not among them. */
function bytesPlanned(source: Source, rank: number): { sent: number; received: number } {
  if (!("transfer" in source)) return { sent: 0, received: 0 };
  let sent = 0;
  let received = 0;
  for (const { sourceRank, targetRank, bytes } of source.transfer.moves) {
    if (sourceRank === rank) sent += bytes;
    if (targetRank === rank) received += bytes;
  }
  return { sent, received };
}
