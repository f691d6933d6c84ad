import type { Log } from "@shardwright/service";
import { decide } from "./core/lifecycle.ts";
import type { JobEvent, Policy } from "./core/state.ts";
import { projectStatus } from "./core/view.ts";
import type { EventDraft, JobRecord, JobStore } from "./ports.ts";

export interface ReconcileWorld {
  readonly store: JobStore;
  readonly now: () => number;
  readonly policy: Policy;
  readonly log: Log;
  /** The newest record this process knows; saves a read. */
  readonly cache: Map<string, JobRecord>;
  /** Carries out what the state wants done; must not wait for it. */
  readonly act: (record: JobRecord) => void;
}

// Somebody else (a cancel over another connection) may decide in between, not many times in a row.
const RACES_MAX = 10;

/**
 * One event of one job: read, decide, save, act. Called for one job at a time (work-queue.ts). A job that is gone
 * hears nothing.
 */
export async function reconcile(
  uid: string,
  event: JobEvent,
  world: ReconcileWorld,
): Promise<void> {
  for (let race = 0; race < RACES_MAX; race++) {
    // 1. Everything we know, read once.
    const record = world.cache.get(uid) ?? (await world.store.load(uid));
    if (record === null) return;
    const now = world.now();
    // 2. What should happen. Pure.
    const { state, told, generation } = decide(record.state, event, now, world.policy);
    if (state === record.state && told.length === 0) {
      world.cache.set(uid, record);
      return;
    }
    // 3. Write the intention before acting on it; a lost race means somebody newer decided.
    const live = "live" in state ? state.live : null;
    const events = told.map(
      ({ reason, severity }): EventDraft => ({
        timeMs: now,
        reason,
        severity,
        generation: live?.committed?.number ?? 0,
        step: live?.step ?? 0,
      }),
    );
    const isOver =
      state.phase === "complete" || state.phase === "failed" || state.phase === "cancelled";
    const saved = await world.store.save({
      uid,
      expect: record.revision,
      state,
      status: projectStatus(state, record.status, now),
      // What is still to be cleaned up must survive a crash: until then the job is not finished.
      finishedMs: isOver && state.effects.length === 0 ? (record.finishedMs ?? now) : null,
      events,
      generation,
    });
    if (!saved.saved) {
      world.cache.delete(uid);
      continue;
    }
    world.cache.set(uid, saved.record);
    for (const { reason } of told)
      world.log.info({ job: record.name, code: reason.code, why: reason.sentence }, "job decision");
    // 4. Act, also on what an earlier pass saved and did not finish. Every effect may run twice.
    world.act(saved.record);
    return;
  }
  throw new Error(`job ${uid}: ${RACES_MAX} decisions in a row were overtaken`);
}
