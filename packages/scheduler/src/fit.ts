/** Which nodes can take a member of a gang: named filters, each says why not. */
import type { Reason } from "@shardwright/job";
import { bytesText } from "@shardwright/job/units";
import type { Gang } from "./gang.ts";
import { compareText } from "./order.ts";
import { type ClusterSnapshot, freeSlots, type Node } from "./snapshot.ts";

/** A node with room for at least one member. */
export interface Candidate {
  readonly node: Node;
  readonly free: number;
  /** Members that fit into the free slots. */
  readonly room: number;
}

/** A node without, and why. */
export interface Refusal extends Reason {
  readonly node: string;
}

/** Both by name of the node. */
export interface Fit {
  readonly candidates: readonly Candidate[];
  readonly refusals: readonly Refusal[];
}

interface Filter {
  readonly code: string;
  /** null when the node passes. */
  readonly whyNot: (node: Node, free: number, gang: Gang) => string | null;
}

/** In this order; the first that refuses is the reason. */
const FILTERS: readonly Filter[] = [
  { code: "NodeClosed", whyNot: (node) => node.closedBecause },
  {
    code: "OtherDevice",
    whyNot: (node, _free, { device }) =>
      device === null || device === node.device
        ? null
        : `has ${node.device}, the job wants ${device}`,
  },
  {
    code: "TooLittleMemory",
    whyNot: (node, _free, { bytesPerRank }) =>
      bytesPerRank <= node.bytesPerSlot
        ? null
        : `gives a rank ${bytesText(node.bytesPerSlot)}, the plan needs ${bytesText(bytesPerRank)}`,
  },
  {
    code: "TooFewSlots",
    whyNot: (node, _free, { slotsPerMember }) =>
      slotsPerMember <= node.slots
        ? null
        : `has ${node.slots} slots, a member needs ${slotsPerMember}`,
  },
  {
    code: "SlotsHeld",
    whyNot: (node, free, { slotsPerMember }) =>
      slotsPerMember <= free
        ? null
        : `has ${free} of ${node.slots} slots free, a member needs ${slotsPerMember}`,
  },
];

/** Every node is either a candidate with room for at least one member, or refused with a reason. */
export function findCandidates(snapshot: ClusterSnapshot, gang: Gang): Fit {
  const candidates: Candidate[] = [];
  const refusals: Refusal[] = [];
  const freeOf = freeSlots(snapshot);
  // By name, so that equal clusters are told of in equal words.
  const nodes = [...snapshot.nodes].sort((a, b) => compareText(a.name, b.name));
  for (const node of nodes) {
    const free = freeOf.get(node.name) ?? 0;
    const refusal = refusalOf(node, free, gang);
    if (refusal) refusals.push(refusal);
    else candidates.push({ node, free, room: Math.floor(free / gang.slotsPerMember) });
  }
  return { candidates, refusals };
}

function refusalOf(node: Node, free: number, gang: Gang): Refusal | null {
  for (const { code, whyNot } of FILTERS) {
    const why = whyNot(node, free, gang);
    if (why !== null) return { node: node.name, code, sentence: `node ${node.name} ${why}` };
  }
  return null;
}
