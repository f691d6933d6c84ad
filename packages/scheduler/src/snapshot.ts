/**
 * The cluster as one cycle sees it: immutable. What-if is the same code as for-real: `withHoldings` and
 * `withoutJob` give another snapshot.
 */

/** Place for one rank: a GPU, or a CPU core in embedded mode. */
export interface Node {
  readonly name: string;
  /** Nodes of one rack are near each other on the network. */
  readonly rack: string;
  /** `cpu`, or a GPU type such as `H100`. */
  readonly device: string;
  readonly slots: number;
  /** Bytes that one rank may use. */
  readonly bytesPerSlot: number;
  /** null = ready; else a sentence: why nothing may be placed here. */
  readonly closedBecause: string | null;
}

/** Slots of a node that a job holds. */
export interface Holding {
  /** Uid. */
  readonly job: string;
  readonly queue: string;
  readonly node: string;
  readonly slots: number;
}

/** A queue and what its jobs may hold. */
export interface Queue {
  readonly name: string;
  /** Slots that its jobs may hold at once, per device; a device that is not listed has no limit. */
  readonly nominalSlots: Readonly<Record<string, number>>;
  /** null = open; else a sentence: why nothing is admitted. */
  readonly stoppedBecause: string | null;
}

/** Everything a cycle may know of the cluster. */
export interface ClusterSnapshot {
  readonly nodes: readonly Node[];
  readonly holdings: readonly Holding[];
  readonly queues: readonly Queue[];
}

/** The queue that every installation has. */
export const DEFAULT_QUEUE = "default";

/** This machine, as embedded mode offers it. */
export interface LocalMachine {
  readonly name: string;
  /** Ranks that may run at once; the number of cores unless somebody says otherwise. */
  readonly slots: number;
  readonly memoryBytes: number;
}

/** One machine as a cluster of one node: embedded mode. Memory is shared evenly by the slots. */
export function localSnapshot(
  machine: LocalMachine,
  holdings: readonly Holding[] = [],
): ClusterSnapshot {
  const node: Node = {
    name: machine.name,
    rack: machine.name,
    device: "cpu",
    slots: machine.slots,
    bytesPerSlot: Math.floor(machine.memoryBytes / Math.max(1, machine.slots)),
    closedBecause: null,
  };
  const queue: Queue = { name: DEFAULT_QUEUE, nominalSlots: {}, stoppedBecause: null };
  return { nodes: [node], holdings, queues: [queue] };
}

/** Node → slots that nobody holds; never negative, even when a node shrank under its holders. */
export function freeSlots(snapshot: ClusterSnapshot): ReadonlyMap<string, number> {
  const free = new Map(snapshot.nodes.map(({ name, slots }) => [name, slots]));
  for (const { node, slots } of snapshot.holdings) {
    const left = free.get(node);
    if (left !== undefined) free.set(node, Math.max(0, left - slots));
  }
  return free;
}

/** The cluster as if these holdings were there too. */
export function withHoldings(
  snapshot: ClusterSnapshot,
  holdings: readonly Holding[],
): ClusterSnapshot {
  return { ...snapshot, holdings: [...snapshot.holdings, ...holdings] };
}

/** The cluster as if the job had let go of everything. */
export function withoutJob(snapshot: ClusterSnapshot, job: string): ClusterSnapshot {
  return { ...snapshot, holdings: snapshot.holdings.filter((holding) => holding.job !== job) };
}

/** The cluster as if nobody held anything: what could ever be free. */
export function emptied(snapshot: ClusterSnapshot): ClusterSnapshot {
  return { ...snapshot, holdings: [] };
}
