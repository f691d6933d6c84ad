import { memberName } from "@shardwright/job";
import { type Holding, scheduleCycle, type WaitingJob, withHoldings } from "@shardwright/scheduler";
import type { JobEvent } from "./core/events.ts";
import { holdsMembers } from "./core/ledger.ts";
import { liveOf } from "./core/state.ts";
import type { CycleFacts, Measures } from "./measures.ts";
import type { JobRecord, JobStore, Launcher } from "./ports.ts";

export interface ScheduleWorld {
  readonly store: JobStore;
  readonly launcher: Launcher;
  readonly now: () => number;
  /** Applies to the job if it is still queued; otherwise nothing happens. */
  readonly deliver: (uid: string, event: JobEvent) => Promise<void>;
  readonly measures: Pick<Measures, "cycled">;
}

/** One scheduler cycle: it proposes over a snapshot, each proposal is applied by the job's own decision. */
export async function runCycle(world: ScheduleWorld): Promise<void> {
  const begun = performance.now();
  // 1. Snapshot: the machine, and what our jobs hold of it.
  const records = await world.store.unfinished();
  const snapshot = withHoldings(world.launcher.snapshot(), records.flatMap(holdingsOf));
  // 2. Who waits.
  const waiting = records.flatMap(waitingOf);
  const cycled = (placed: number, waits: readonly string[]): void => {
    const seconds = (performance.now() - begun) / 1000;
    world.measures.cycled({ seconds, placed, waits, queues: queuesOf(records) });
  };
  if (waiting.length === 0) {
    cycled(0, []);
    return;
  }
  // 3. Propose.
  const { placements, waits } = scheduleCycle(snapshot, waiting, world.now());
  // 4. Apply; a job that is no longer queued ignores it.
  for (const { job, assignments, reason } of placements) {
    const record = records.find(({ uid }) => uid === job);
    const members = assignments.map(({ member, node }) => ({
      name: memberName(record?.name ?? job, member),
      node,
    }));
    await world.deliver(job, { kind: "placed", members, reason });
  }
  for (const { job, reason } of waits) await world.deliver(job, { kind: "waits", reason });
  // 5. Tell.
  cycled(
    placements.length,
    waits.map(({ reason }) => reason.code),
  );
}

function queuesOf(records: readonly JobRecord[]): CycleFacts["queues"] {
  const queues = new Map<string, { pending: number; admitted: number }>();
  for (const { state } of records) {
    const known = queues.get(state.spec.queue) ?? { pending: 0, admitted: 0 };
    if (state.phase === "queued") known.pending += 1;
    else if (holdsMembers(state)) known.admitted += 1;
    queues.set(state.spec.queue, known);
  }
  return queues;
}

/** The slots that the members of a job hold. */
export function holdingsOf({ uid, state }: JobRecord): Holding[] {
  const live = holdsMembers(state) ? liveOf(state) : null;
  if (live === null) return [];
  return live.members.map(({ node }) => ({
    job: uid,
    queue: state.spec.queue,
    node,
    slots: live.plan.ranksPerMember,
  }));
}

function waitingOf(record: JobRecord): WaitingJob[] {
  const { uid, name, state, createdMs } = record;
  if (state.phase !== "queued" || state.spec.suspend) return [];
  const { spec, submittedPlan: plan } = state;
  return [
    {
      uid,
      name,
      queue: spec.queue,
      priority: spec.priority,
      submittedMs: createdMs,
      gang: {
        members: plan.members,
        slotsPerMember: plan.ranksPerMember,
        device: null,
        bytesPerRank: plan.peakBytesPredicted,
      },
      membersMin: Math.min(plan.members, spec.resources.members.min ?? plan.members),
    },
  ];
}
