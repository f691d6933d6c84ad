import { type JobUid, type JobView, jobToWire, planToWire } from "@shardwright/job";
import type { PlanOutcome } from "@shardwright/planner";
import { blockMapToWire, lanesToWire } from "@shardwright/planner/wire";
import {
  Event,
  type ExplainJobResponse,
  Generation,
  GetBlockMapResponse,
  type Job,
  Member,
  MemberRank,
  Plan,
} from "@shardwright/proto";
import { copiesOf } from "../core/snapshots.ts";
import { liveOf } from "../core/state.ts";
import type { EventRow, JobRecord } from "../ports.ts";

/** A record as readers see it; its revision is the journal-wide sequence that watches resume from. */
export function viewOf(record: JobRecord): JobView {
  const { tenant, name, sequence, createdMs, finishedMs, document, status } = record;
  const uid = record.uid as JobUid;
  return { tenant, name, uid, revision: sequence, createdMs, finishedMs, document, status };
}

export function wireOf(record: JobRecord): Job {
  return jobToWire(viewOf(record));
}

/** A plan, or the reason why there is none with what was tried. */
export function planOutcomeToWire(outcome: PlanOutcome): Plan {
  if (outcome.fits) return planToWire(outcome.plan);
  return Plan.create({
    fits: false,
    rejected: outcome.rejected.map(({ what, code, sentence }) => ({ what, code, sentence })),
    explanation: [outcome.reason.sentence],
  });
}

export function eventToWire(row: EventRow): Event {
  return Event.create({
    sequence: BigInt(row.sequence),
    tenant: row.tenant,
    jobName: row.jobName,
    time: new Date(row.timeMs),
    reason: { ...row.reason },
    generation: BigInt(row.generation),
    step: BigInt(row.step),
    severity: row.severity,
  });
}

/** Members with their ranks in the committed generation. */
export function membersOf(record: JobRecord): Member[] {
  const live = liveOf(record.state);
  const committed = live?.committed ?? null;
  // Of a job that is over nobody runs any more: pids of the past would name somebody else's process.
  if (record.state.phase !== "active") {
    return (live?.members ?? []).map(({ name, slot, incarnation, node }) =>
      Member.create({ name, slot, incarnation, node, state: "stopped" }),
    );
  }
  return (live?.members ?? []).map((member) =>
    Member.create({
      name: member.name,
      slot: member.slot,
      incarnation: member.incarnation,
      state: member.state,
      node: member.node,
      pid: member.pid,
      ranks: (committed?.seats ?? [])
        .filter((seat) => seat.member === member.name && seat.incarnation === member.incarnation)
        .map(({ rank, pid, localRank }) => {
          const lanes = committed?.lanes.find((range) => range.rank === rank);
          const runs = committed?.blockMap.runs ?? [];
          const count = (isHeld: (holders: readonly number[]) => boolean): number =>
            runs.reduce((sum, run) => sum + (isHeld(run.holders) ? run.blocks : 0), 0);
          return MemberRank.create({
            rank,
            pid,
            laneBegin: lanes?.begin ?? 0,
            laneEnd: lanes?.end ?? 0,
            ownedBlocksCount: count((holders) => holders[0] === rank),
            replicaBlocksCount: count((holders) => holders.indexOf(rank) > 0),
            state: member.ranks.find((slot) => slot.localRank === localRank)?.state ?? "",
          });
        }),
    }),
  );
}

export function generationToWire(row: {
  readonly generation: number;
  readonly step: number;
  readonly reason: { readonly code: string; readonly sentence: string };
  readonly worldSize: number;
  readonly movedBytes: number;
  readonly seconds: number;
  readonly committedMs: number;
  readonly source: string;
}): Generation {
  return Generation.create({
    generation: BigInt(row.generation),
    step: BigInt(row.step),
    reason: { ...row.reason },
    worldSize: row.worldSize,
    movedBytes: BigInt(row.movedBytes),
    seconds: row.seconds,
    committedTime: new Date(row.committedMs),
    source: row.source,
  });
}

/** The map of the committed generation; generation 0 when there is none yet. */
export function blockMapOf(record: JobRecord): GetBlockMapResponse {
  const live = liveOf(record.state);
  const committed = live?.committed ?? null;
  if (live === null || committed === null) return GetBlockMapResponse.create();
  const snapshot = copiesOf(live, committed.blockMap.blocks);
  return GetBlockMapResponse.create({
    generation: BigInt(committed.number),
    blockMap: blockMapToWire(committed.blockMap),
    lanes: lanesToWire(committed.lanes),
    snapshotStep: BigInt(snapshot.step),
    snapshotCopies: [...snapshot.copies],
  });
}

/** Why the job stands where it stands: its reason, what led to it, what to do. */
export function explainJob(record: JobRecord, warnings: readonly EventRow[]): ExplainJobResponse {
  const { state, reason, recoveries } = record.status;
  const evidence = warnings.map(({ step, reason: why }) =>
    step > 0 ? `step ${step}: ${why.sentence}` : why.sentence,
  );
  if (recoveries.last !== null) {
    evidence.push(
      `${recoveries.count} recoveries, the last from ${recoveries.last.cause} in ${recoveries.last.seconds.toFixed(1)} s`,
    );
  }
  if (state === "Queued" || state === "Starting")
    evidence.push(...(record.status.plan?.explanation ?? []));
  return { reason: { ...reason }, evidence, remedies: [...remediesFor(state, record.name)] };
}

function remediesFor(state: JobView["status"]["state"], name: string): readonly string[] {
  switch (state) {
    case "Queued":
      return ["wait for running jobs to end, or ask for fewer ranks in spec.resources"];
    case "Failed":
      return [
        `read the logs: shardctl logs ${name}`,
        `correct the job and submit it under another name, or delete ${name} first`,
      ];
    case "Starting":
    case "Running":
    case "Resharding":
    case "Suspended":
    case "Complete":
    case "Cancelled":
      return [];
    default:
      return state satisfies never;
  }
}
