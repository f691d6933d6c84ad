/**
 * One cycle over one snapshot. It proposes; the control plane applies each proposal against the revision that
 * the snapshot was taken at.
 */
import type { Reason } from "@shardwright/job";
import { explainTurn } from "./explain.ts";
import { type Assignment, type Gang, gangText, type WaitingJob } from "./gang.ts";
import { compareText, inTurn } from "./order.ts";
import { placeGang, roomFor } from "./place.ts";
import { allowMembers } from "./quota.ts";
import { type ClusterSnapshot, emptied, type Holding, withHoldings } from "./snapshot.ts";

/** A gang that may start, and where. */
export interface Proposal {
  /** Uid. */
  readonly job: string;
  readonly device: string;
  /** Fewer than asked for when an elastic job starts small. */
  readonly assignments: readonly Assignment[];
  readonly reason: Reason;
}

/** A job that may not start, and why. */
export interface Wait {
  /** Uid. */
  readonly job: string;
  readonly reason: Reason;
}

/** Every job is in exactly one of the two lists. */
export interface CycleOutcome {
  /** In the order in which they must be applied. */
  readonly placements: readonly Proposal[];
  readonly waits: readonly Wait[];
}

/** `now` (milliseconds) is only used in sentences: time alone never changes a decision. */
export function scheduleCycle(
  snapshot: ClusterSnapshot,
  jobs: readonly WaitingJob[],
  now: number,
): CycleOutcome {
  const placements: Proposal[] = [];
  const waits: Wait[] = [];
  /** Device → the job that takes its next free slots; nobody behind it may take them first. */
  const reserved = new Map<string, WaitingJob>();
  let world = snapshot;
  // 1. Whose turn.
  for (const job of inTurn(jobs)) {
    // 2. On which device: the first by name that takes it now, else the first that ever could.
    const verdicts = devicesFor(snapshot, job).map((device) =>
      judge(world, { ...job, gang: { ...job.gang, device } }, { device, reserved, now }),
    );
    const chosen = verdicts.find((verdict) => verdict.kind === "place") ?? verdicts[0];
    // 3. Assume what was decided, for those behind.
    if (chosen?.kind === "place") {
      placements.push(chosen.proposal);
      world = withHoldings(world, holdingsOf(job, chosen.proposal));
      continue;
    }
    // 4. Wait with a reason; a job that waits for room keeps its turn on every device it can use.
    waits.push({ job: job.uid, reason: chosen?.reason ?? nothingSuits(snapshot, job) });
    for (const verdict of verdicts) {
      if (verdict.kind === "wait" && verdict.keepsTurn && !reserved.has(verdict.device)) {
        reserved.set(verdict.device, job);
      }
    }
  }
  return { placements, waits };
}

/** Devices on which the job has room for its least number of members once everybody has left, by name. */
function devicesFor(snapshot: ClusterSnapshot, job: WaitingJob): string[] {
  const devices = new Set(snapshot.nodes.map((node) => node.device));
  return [...devices]
    .filter((device) => job.gang.device === null || job.gang.device === device)
    .filter((device) => roomFor(emptied(snapshot), { ...job.gang, device }) >= job.membersMin)
    .sort(compareText);
}

/** Waiting would not help: the whole cluster is too small, or has nothing of the kind. */
function nothingSuits(snapshot: ClusterSnapshot, job: WaitingJob): Reason {
  const gang: Gang = { ...job.gang, members: job.membersMin };
  const outcome = placeGang(gang, emptied(snapshot));
  const why = outcome.placed ? "no single device type has room for all" : outcome.reason.sentence;
  return { code: "NeverFits", sentence: `even an empty cluster is too small: ${why}` };
}

type Verdict =
  | { readonly kind: "place"; readonly proposal: Proposal }
  | {
      readonly kind: "wait";
      readonly device: string;
      readonly reason: Reason;
      readonly keepsTurn: boolean;
    };

interface Turn {
  readonly device: string;
  readonly reserved: ReadonlyMap<string, WaitingJob>;
  readonly now: number;
}

function judge(world: ClusterSnapshot, job: WaitingJob, turn: Turn): Verdict {
  const { device } = turn;
  const { gang, membersMin } = job;
  const allowance = allowMembers(world, {
    queue: job.queue,
    device,
    slotsPerMember: gang.slotsPerMember,
    membersMin,
    membersWanted: gang.members,
  });
  // A job that its own queue holds back must not hold back other queues.
  if (!allowance.allowed) {
    return { kind: "wait", device, reason: allowance.reason, keepsTurn: false };
  }
  const first = turn.reserved.get(device);
  if (first) {
    const reason = { code: "NotItsTurn", sentence: explainTurn(first, turn.now) };
    return { kind: "wait", device, reason, keepsTurn: false };
  }
  const members = Math.max(membersMin, Math.min(allowance.members, roomFor(world, gang)));
  const placement = placeGang({ ...gang, members }, world);
  if (!placement.placed) {
    return { kind: "wait", device, reason: placement.reason, keepsTurn: true };
  }
  const reason = reasonOf(job, members, nodesOf(placement.assignments));
  return {
    kind: "place",
    proposal: { job: job.uid, device, assignments: placement.assignments, reason },
  };
}

function nodesOf(assignments: readonly Assignment[]): number {
  return new Set(assignments.map(({ node }) => node)).size;
}

function reasonOf({ gang }: WaitingJob, members: number, nodes: number): Reason {
  const where = nodes === 1 ? "one node" : `${nodes} nodes`;
  const placed = `${gangText(members, gang.slotsPerMember)} on ${where}`;
  const sentence =
    members < gang.members
      ? `${placed}; ${gang.members} were asked for, the rest may join`
      : placed;
  return { code: "GangScheduled", sentence };
}

function holdingsOf(job: WaitingJob, proposal: Proposal): Holding[] {
  const slots = new Map<string, number>();
  for (const { node } of proposal.assignments) {
    slots.set(node, (slots.get(node) ?? 0) + job.gang.slotsPerMember);
  }
  return [...slots].map(([node, count]) => ({
    job: job.uid,
    queue: job.queue,
    node,
    slots: count,
  }));
}
