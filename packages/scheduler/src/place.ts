/** Gang placement: all members or none. A gang that half fits does not fit. */
import type { Reason } from "@shardwright/job";
import { explainRefusals } from "./explain.ts";
import { type Candidate, type Fit, findCandidates } from "./fit.ts";
import { type Assignment, type Gang, gangText } from "./gang.ts";
import { compareText } from "./order.ts";
import { scoreOf } from "./score.ts";
import type { ClusterSnapshot } from "./snapshot.ts";

/** All members, or the reason why none. */
export type Placement =
  | { readonly placed: true; readonly device: string; readonly assignments: readonly Assignment[] }
  | { readonly placed: false; readonly reason: Reason };

/** Members of the gang's shape that have room now, all on one device; the device with most room counts. */
export function roomFor(snapshot: ClusterSnapshot, gang: Gang): number {
  return Math.max(0, ...devicesOf(findCandidates(snapshot, gang)).map(({ room }) => room));
}

/**
 * One rack that takes the whole gang, else the fewest racks; inside them the best-scored node first. Equal
 * candidates are taken by name, so the same snapshot always gives the same placement.
 */
export function placeGang(gang: Gang, snapshot: ClusterSnapshot): Placement {
  const fit = findCandidates(snapshot, gang);
  const devices = devicesOf(fit);
  const device = devices.find(({ room }) => room >= gang.members);
  if (!device) {
    const room = Math.max(0, ...devices.map((one) => one.room));
    const sentence = `needs ${gangText(gang.members, gang.slotsPerMember)}, there is room for ${room}${explainRefusals(fit.refusals)}`;
    return { placed: false, reason: { code: "GangDoesNotFit", sentence } };
  }
  const racks = chooseRacks(device.candidates, gang.members);
  return { placed: true, device: device.name, assignments: assign(gang, racks) };
}

interface Group {
  readonly name: string;
  readonly room: number;
  readonly candidates: readonly Candidate[];
}

function grouped(
  candidates: readonly Candidate[],
  nameOf: (candidate: Candidate) => string,
): Group[] {
  const groups = new Map<string, Candidate[]>();
  for (const candidate of candidates) {
    const group = groups.get(nameOf(candidate)) ?? [];
    group.push(candidate);
    groups.set(nameOf(candidate), group);
  }
  return [...groups]
    .map(([name, members]) => ({
      name,
      candidates: members,
      room: members.reduce((sum, { room }) => sum + room, 0),
    }))
    .sort((a, b) => compareText(a.name, b.name));
}

/** One device type per gang: other hardware rounds differently. */
function devicesOf(fit: Fit): Group[] {
  return grouped(fit.candidates, ({ node }) => node.device);
}

/** The smallest rack that takes all; else racks from the largest until there is room. */
function chooseRacks(candidates: readonly Candidate[], members: number): readonly Candidate[] {
  const racks = grouped(candidates, ({ node }) => node.rack);
  const whole = racks.filter(({ room }) => room >= members).sort((a, b) => a.room - b.room)[0];
  if (whole) return whole.candidates;
  const chosen: Candidate[] = [];
  let room = 0;
  for (const rack of racks.sort((a, b) => b.room - a.room)) {
    if (room >= members) break;
    chosen.push(...rack.candidates);
    room += rack.room;
  }
  return chosen;
}

/** Node after node, each filled before the next: the best-scored one for the members that are left. */
function assign(gang: Gang, candidates: readonly Candidate[]): Assignment[] {
  const assignments: Assignment[] = [];
  const placedInRack = new Map<string, number>();
  let remaining = candidates;
  while (assignments.length < gang.members) {
    const left = gang.members - assignments.length;
    const best = bestOf(remaining, { gang, placedInRack, left });
    const taken = Math.min(left, best.room);
    for (let i = 0; i < taken; i++) {
      assignments.push({ member: assignments.length, node: best.node.name });
    }
    placedInRack.set(best.node.rack, (placedInRack.get(best.node.rack) ?? 0) + taken);
    remaining = remaining.filter((candidate) => candidate !== best);
  }
  return assignments;
}

function bestOf(
  candidates: readonly Candidate[],
  standing: Parameters<typeof scoreOf>[1],
): Candidate {
  let best: Candidate | undefined;
  let bestScore = Number.NEGATIVE_INFINITY;
  for (const candidate of candidates) {
    const score = scoreOf(candidate, standing);
    if (score > bestScore) [best, bestScore] = [candidate, score];
  }
  if (!best) throw new Error("a gang was assigned to less room than was counted");
  return best;
}
