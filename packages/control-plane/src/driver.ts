import { Fault } from "@shardwright/job/faults";
import type { Clock, Log } from "@shardwright/service";
import type { JobEvent } from "./core/events.ts";
import { silenceAll } from "./core/members.ts";
import type { Policy } from "./core/policy.ts";
import type { Measures } from "./measures.ts";
import { createOutbox } from "./outbox.ts";
import type { PerformWorld } from "./perform.ts";
import type { JobControl, JobRecord, JobStore, Launcher } from "./ports.ts";
import { type ReconcileWorld, reconcile } from "./reconcile.ts";
import { membersWanted } from "./scale.ts";
import { runCycle } from "./schedule.ts";
import type { Sessions } from "./sessions.ts";
import { createGathering, createWorkQueue, type WorkQueue } from "./work-queue.ts";

export interface DriverWorld {
  readonly store: JobStore;
  readonly launcher: Launcher;
  readonly sessions: Sessions;
  readonly performing: Omit<PerformWorld, "forget">;
  readonly clock: Clock;
  readonly policy: Policy;
  readonly measures: Measures;
  /** The last process of this data directory ended cleanly: members that are gone were stopped by it. */
  readonly wasStopped: boolean;
  readonly log: Log;
}

/** Drives every job: events in, one at a time for a job; effects out, several at once. */
export interface Driver extends JobControl {
  deliver(uid: string, event: JobEvent): Promise<void>;
  recordOf(uid: string): Promise<JobRecord | null>;
  /** Takes up what an earlier process left: silence until members are heard, effects again. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

// Time only matters for silence and deadlines of seconds.
const TICK_MS = 500;
// A removal waits for members to end: their grace, and some. Callers wait 30 s and are to hear why it takes longer.
const REMOVAL_WAIT_MS = 25_000;
const REMOVAL_POLL_MS = 50;

export function createDriver(world: DriverWorld): Driver {
  const { store, launcher, sessions, clock, policy, measures, log } = world;
  const queue = createWorkQueue();
  const cache = new Map<string, JobRecord>();
  const stopping = new AbortController();

  const act = (record: JobRecord): void => {
    sessions.update(record);
    outbox.start(record);
    if (record.state.phase === "queued" || record.finishedMs !== null) wakeScheduler();
    if (record.finishedMs !== null && record.state.effects.length === 0) cache.delete(record.uid);
  };
  const deciding = { store, now: clock.now, policy, log, cache, measures, act };
  const gather = createGathering<JobEvent>(queue, (uid, events) =>
    reconcile(uid, events, deciding),
  );
  const deliver = async (uid: string, event: JobEvent): Promise<void> => {
    if (!stopping.signal.aborted) await gather(uid, event);
  };
  const forget = (uid: string): Promise<void> =>
    queue.run(uid, async () => {
      const record = await store.load(uid);
      await store.remove(uid);
      if (record !== null) measures.removed(record);
      cache.delete(uid);
      wakeScheduler();
    });
  const outbox = createOutbox({
    performing: { ...world.performing, forget },
    isStopping: () => stopping.signal.aborted,
    settled: (uid, effectId, outcome) => deliver(uid, { kind: "settled", effectId, outcome }),
    newest: (uid) => cache.get(uid) ?? null,
    log,
  });
  const wakeScheduler = soon(queue, log, async () => {
    if (stopping.signal.aborted) return;
    await runCycle({ store, launcher, now: clock.now, deliver, measures });
  });
  const recordOf = async (uid: string): Promise<JobRecord | null> =>
    cache.get(uid) ?? (await store.load(uid));

  launcher.onEnd(({ uid, member, incarnation }, sentence) => {
    void deliver(uid, { kind: "gone", cause: "node", member, incarnation, sentence }).catch(
      (reason: unknown) =>
        log.error({ err: reason, uid, member }, "the end of a member could not be booked"),
    );
  });
  let ticking: Promise<void> | null = null;
  return {
    deliver,
    recordOf,
    wake: (uid) => void recordOf(uid).then((record) => record !== null && act(record)),
    cancel: (uid) => deliver(uid, { kind: "cancel" }),
    scale: async (uid, members) => {
      const wanted = await membersWanted(uid, members, { store, launcher });
      await deliver(uid, { kind: "scale", members: wanted });
    },
    remove: async (uid, checkpoints) => {
      await deliver(uid, { kind: "delete", checkpoints });
      await untilGone(uid, { store, clock, signal: stopping.signal });
    },
    start: async () => {
      const running = await launcher.running();
      const { wasStopped } = world;
      for (const record of await store.unfinished()) {
        cache.set(record.uid, record);
        await resume(record, running, { deliver, now: clock.now, cache, wasStopped });
        const newest = cache.get(record.uid);
        if (newest !== undefined) act(newest);
      }
      wakeScheduler();
      ticking = tick(world, { deliver, cache, signal: stopping.signal });
    },
    stop: async () => {
      const active = activeIn(cache).map(({ uid }) => uid);
      stopping.abort();
      await ticking;
      await queue.idle();
      await endMembers(active, world, deciding);
      await launcher.stopStore();
    },
  };
}

/** Wakes the scheduler: however often it is woken before a cycle begins, that is one cycle. */
function soon(queue: WorkQueue, log: Log, cycle: () => Promise<void>): () => void {
  let isWanted = false;
  return () => {
    if (isWanted) return;
    isWanted = true;
    void queue
      .run("scheduler", () => {
        isWanted = false;
        return cycle();
      })
      .catch((reason: unknown) => log.error({ err: reason }, "a scheduler cycle has failed"));
  };
}

function activeIn(cache: ReadonlyMap<string, JobRecord>): readonly JobRecord[] {
  return [...cache.values()].filter(({ state }) => state.phase === "active");
}

/** Time passes for the jobs that are active, until `signal`. */
async function tick(
  { clock, measures, log }: DriverWorld,
  living: {
    readonly deliver: Driver["deliver"];
    readonly cache: ReadonlyMap<string, JobRecord>;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { deliver, cache, signal } = living;
  while (!signal.aborted) {
    await clock.sleep(TICK_MS, signal);
    measures.sweep(clock.now());
    for (const { uid } of activeIn(cache)) {
      await deliver(uid, { kind: "tick" }).catch((reason: unknown) =>
        log.error({ err: reason, uid }, "a tick has failed"),
      );
    }
  }
}

/** Resolves when the journal has forgotten the job; Fault `unavailable` when that takes longer than callers wait. */
async function untilGone(
  uid: string,
  { store, clock, signal }: Pick<DriverWorld, "store" | "clock"> & { readonly signal: AbortSignal },
): Promise<void> {
  const until = clock.now() + REMOVAL_WAIT_MS;
  for (;;) {
    const record = await store.load(uid);
    if (record === null) return;
    if (clock.now() >= until || signal.aborted) {
      const { sentence } = record.state.reason;
      const what = `job ${record.name} is not gone yet (${sentence}); its deletion goes on`;
      throw new Fault("unavailable", what);
    }
    await clock.sleep(REMOVAL_POLL_MS);
  }
}

/** A clean stop leaves no process behind; the jobs go on from their last checkpoints at the next start. */
async function endMembers(
  uids: readonly string[],
  { sessions, launcher, log }: DriverWorld,
  deciding: ReconcileWorld,
): Promise<void> {
  const stop = { $case: "stop", value: { why: "suspended" } } as const;
  for (const uid of uids) sessions.broadcast(uid, { generation: 0n, body: stop });
  await Promise.all(uids.map((uid) => launcher.release(uid)));
  // Nobody is heard any more by now: the last thing that is decided is that nothing is held.
  for (const uid of uids) {
    const parked = reconcile(uid, [{ kind: "parked" }], { ...deciding, act: () => undefined });
    await parked.catch((reason: unknown) => log.error({ err: reason, uid }, "parking has failed"));
  }
}

type Running = Awaited<ReturnType<Launcher["running"]>>;

/** After a restart nobody is heard yet, and members may have ended while nobody looked. */
async function resume(
  record: JobRecord,
  running: Running,
  world: {
    deliver: (uid: string, event: JobEvent) => Promise<void>;
    now: () => number;
    cache: Map<string, JobRecord>;
    /** The last process stopped its members before it ended. */
    wasStopped: boolean;
  },
): Promise<void> {
  const { state, uid } = record;
  if (state.phase !== "active") return;
  // Only in memory: a stream that is not open is a fact of this process, not of the journal.
  world.cache.set(uid, {
    ...record,
    state: { ...state, live: silenceAll(state.live, world.now()) },
  });
  for (const { name, incarnation, state: known } of state.live.members) {
    const isRunning = running.some(
      (one) => one.uid === uid && one.member === name && one.incarnation === incarnation,
    );
    const isLaunching = state.effects.some(({ id }) => id === `launch:${name}:${incarnation}`);
    if (known === "lost" || isRunning || isLaunching) continue;
    const cause = world.wasStopped ? "restart" : "node";
    const sentence = world.wasStopped
      ? "it was stopped with the services"
      : "its process was gone when the control plane came back";
    await world.deliver(uid, { kind: "gone", cause, member: name, incarnation, sentence });
  }
}
