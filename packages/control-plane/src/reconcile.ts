import type { Log } from "@shardwright/service";
import type { JobEvent } from "./core/events.ts";
import { decide } from "./core/lifecycle.ts";
import type { Policy } from "./core/policy.ts";
import { type GenerationRow, type JobState, liveOf } from "./core/state.ts";
import { projectStatus } from "./core/view.ts";
import type { Measures } from "./measures.ts";
import type { EventDraft, JobRecord, JobStore } from "./ports.ts";

export interface ReconcileWorld {
  readonly store: JobStore;
  readonly now: () => number;
  readonly policy: Policy;
  readonly log: Log;
  /** The newest record this process knows; saves a read. */
  readonly cache: Map<string, JobRecord>;
  /** Told of every decision that was saved. */
  readonly measures: Pick<Measures, "decided">;
  /** Carries out what the state wants done; must not wait for it. */
  readonly act: (record: JobRecord) => void;
}

// Somebody else (a cancel over another connection) may decide in between, not many times in a row.
const RACES_MAX = 10;

/**
 * Events of one job, in order: read, decide, save, act. Those that waited together share one write: what a crash
 * in between takes is as if none of them had come. Called for one job at a time (work-queue.ts). A job that is
 * gone hears nothing.
 */
export async function reconcile(
  uid: string,
  events: readonly JobEvent[],
  world: ReconcileWorld,
): Promise<void> {
  let rest = events;
  let races = 0;
  while (rest.length > 0) {
    if (races === RACES_MAX)
      throw new Error(`job ${uid}: ${RACES_MAX} decisions in a row were overtaken`);
    // 1. Everything we know, read once.
    const record = world.cache.get(uid) ?? (await world.store.load(uid));
    if (record === null) return;
    const now = world.now();
    // 2. What should happen. Pure.
    const { state, drafts, generation, heard } = decideAll(record.state, rest, now, world.policy);
    if (state === record.state && drafts.length === 0) {
      world.cache.set(uid, record);
      return;
    }
    // 3. Write the intention before acting on it; a lost race means somebody newer decided.
    const saved = await world.store.save({
      uid,
      expect: record.revision,
      state,
      status: projectStatus(state, record.status, now),
      finishedMs: isFinished(state) ? (record.finishedMs ?? now) : null,
      events: drafts,
      generation,
    });
    if (!saved.saved) {
      world.cache.delete(uid);
      races++;
      continue;
    }
    world.cache.set(uid, saved.record);
    world.measures.decided(record, saved.record, now);
    logDecisions(saved.record, drafts, world.log);
    // 4. Act, also on what an earlier pass saved and did not finish. Every effect may run twice.
    world.act(saved.record);
    rest = rest.slice(heard);
  }
}

function logDecisions({ name }: JobRecord, drafts: readonly EventDraft[], log: Log): void {
  for (const { reason } of drafts)
    log.info({ job: name, code: reason.code, why: reason.sentence }, "job decision");
}

/** What is still to be cleaned up must survive a crash: until then the job is not finished. */
function isFinished({ phase, effects }: JobState): boolean {
  const isOver = phase === "complete" || phase === "failed" || phase === "cancelled";
  return isOver && effects.length === 0;
}

interface Decided {
  readonly state: JobState;
  readonly drafts: readonly EventDraft[];
  readonly generation: GenerationRow | null;
  /** How many of the events were decided on. */
  readonly heard: number;
}

/** One event after another, up to the first that commits a generation: a write holds one row of their history. */
function decideAll(
  before: JobState,
  events: readonly JobEvent[],
  now: number,
  policy: Policy,
): Decided {
  let state = before;
  const drafts: EventDraft[] = [];
  for (const [at, event] of events.entries()) {
    const decision = decide(state, event, now, policy);
    state = decision.state;
    const live = liveOf(state);
    for (const { reason, severity } of decision.told) {
      const [generation, step] = [live?.committed?.number ?? 0, live?.step ?? 0];
      drafts.push({ timeMs: now, reason, severity, generation, step });
    }
    const { generation } = decision;
    if (generation !== null) return { state, drafts, generation, heard: at + 1 };
  }
  return { state, drafts, generation: null, heard: events.length };
}
