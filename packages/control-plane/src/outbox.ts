import type { Log } from "@shardwright/service";
import { effectsDue } from "./core/erasure.ts";
import type { Outcome } from "./core/events.ts";
import type { Effect } from "./core/state.ts";
import { type PerformWorld, perform } from "./perform.ts";
import type { JobRecord } from "./ports.ts";

export interface OutboxWorld {
  readonly performing: PerformWorld;
  /** Nothing new is begun any more. */
  isStopping(): boolean;
  /** Hears what became of an effect; resolves when that was decided on. */
  settled(uid: string, effectId: string, outcome: Outcome): Promise<void>;
  /** The job as this process knows it now; null when it does not drive it. */
  newest(uid: string): JobRecord | null;
  readonly log: Log;
}

/** Carries out what jobs want done: several effects of a job at once, each of them once at a time. */
export interface Outbox {
  /** Begins what is due of this job and not under way. */
  start(record: JobRecord): void;
}

export function createOutbox(world: OutboxWorld): Outbox {
  const inFlight = new Set<string>();
  /** What nobody wants any more may still be under way, and write what is to be erased. */
  const isBusy = (uid: string): boolean => [...inFlight].some((id) => id.startsWith(`${uid}/`));
  const begin = (effect: Effect, record: JobRecord): void => {
    const { uid } = record;
    const id = `${uid}/${effect.id}`;
    if (inFlight.has(id) || (effect.kind === "erase" && isBusy(uid))) return;
    inFlight.add(id);
    void perform(effect, record, world.performing)
      .then(async (outcome) => {
        inFlight.delete(id);
        await world.settled(uid, effect.id, outcome);
        const newest = world.newest(uid);
        if (newest !== null) start(newest);
      })
      .catch((reason: unknown) =>
        world.log.error({ err: reason, effect: id }, "settling an effect has failed"),
      );
  };
  const start = (record: JobRecord): void => {
    if (world.isStopping()) return;
    for (const effect of effectsDue(record.state)) begin(effect, record);
  };
  return { start };
}
