/** Queues and their nominal quota: how many slots of a device the jobs of a queue may hold at once. */
import type { Reason } from "@shardwright/job";
import type { ClusterSnapshot } from "./snapshot.ts";

/** Slots of a device that the jobs of a queue hold. */
export function heldByQueue(snapshot: ClusterSnapshot, queue: string, device: string): number {
  const nodes = new Set(
    snapshot.nodes.filter((node) => node.device === device).map((node) => node.name),
  );
  return snapshot.holdings
    .filter((holding) => holding.queue === queue && nodes.has(holding.node))
    .reduce((sum, holding) => sum + holding.slots, 0);
}

/** Members that may start now, or the reason why none. */
export type Allowance =
  | { readonly allowed: true; readonly members: number }
  | { readonly allowed: false; readonly reason: Reason };

/** What a job asks of its queue, on one device. */
export interface QuotaRequest {
  readonly queue: string;
  readonly device: string;
  readonly slotsPerMember: number;
  readonly membersMin: number;
  readonly membersWanted: number;
}

/** How many members, at most those wanted, the queue's quota lets start now; refused below `membersMin`. */
export function allowMembers(snapshot: ClusterSnapshot, request: QuotaRequest): Allowance {
  const queue = snapshot.queues.find(({ name }) => name === request.queue);
  if (!queue) {
    const known = snapshot.queues.map(({ name }) => name).join(", ");
    const sentence = `there is no queue "${request.queue}"; known: ${known}`;
    return { allowed: false, reason: { code: "QueueUnknown", sentence } };
  }
  if (queue.stoppedBecause !== null) {
    const sentence = `queue ${queue.name} admits nothing: ${queue.stoppedBecause}`;
    return { allowed: false, reason: { code: "QueueStopped", sentence } };
  }
  if (!Object.hasOwn(queue.nominalSlots, request.device)) {
    return { allowed: true, members: request.membersWanted };
  }
  const quota = queue.nominalSlots[request.device] ?? 0;
  const held = heldByQueue(snapshot, queue.name, request.device);
  const members = Math.floor(Math.max(0, quota - held) / request.slotsPerMember);
  if (members >= request.membersMin) {
    return { allowed: true, members: Math.min(members, request.membersWanted) };
  }
  const needed = request.membersMin * request.slotsPerMember;
  const sentence = `queue ${queue.name} holds ${held} of its ${quota} ${request.device} slots; the job needs ${needed}`;
  return { allowed: false, reason: { code: "QuotaExceeded", sentence } };
}
