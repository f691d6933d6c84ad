/** How good a node is for the next member of a gang: named scores in [0, 1], summed by weight. */
import type { Candidate } from "./fit.ts";
import type { Gang } from "./gang.ts";

/** Where the gang stands so far. */
export interface Standing {
  readonly gang: Gang;
  /** Members placed, per rack. */
  readonly placedInRack: ReadonlyMap<string, number>;
  /** Members not placed yet. */
  readonly left: number;
}

interface Scorer {
  readonly name: string;
  readonly weight: number;
  readonly score: (candidate: Candidate, standing: Standing) => number;
}

/** The explanation of a placement lists them by name. */
export const SCORERS: readonly Scorer[] = [
  {
    // Members that are near each other exchange gradients faster.
    name: "topology",
    weight: 4,
    score: ({ node }, { gang, placedInRack }) => (placedInRack.get(node.rack) ?? 0) / gang.members,
  },
  {
    // A node that the gang fills up leaves no splinters for the next one.
    name: "fragmentation",
    weight: 2,
    score: ({ node, free }, { gang, left }) => {
      const taken = Math.min(left, Math.floor(free / gang.slotsPerMember)) * gang.slotsPerMember;
      return 1 - (free - taken) / node.slots;
    },
  },
  {
    // Fewer nodes mean fewer things that can fail.
    name: "spread",
    weight: 1,
    score: ({ room }, { left }) => Math.min(1, room / left),
  },
];

const WEIGHTS = SCORERS.reduce((sum, { weight }) => sum + weight, 0);

/** The weighted mean in [0, 1]. */
export function scoreOf(candidate: Candidate, standing: Standing): number {
  const sum = SCORERS.reduce(
    (total, { weight, score }) => total + weight * score(candidate, standing),
    0,
  );
  return sum / WEIGHTS;
}
