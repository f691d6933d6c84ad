import type { Job, WatchEventsResponse, WatchJobsResponse } from "@shardwright/proto";
import type { Changes, EventRow, JobHistory, JobRecord, JobStore } from "../ports.ts";
import { eventToWire, wireOf } from "./job-views.ts";

export interface WatchWorld {
  readonly jobs: JobStore;
  readonly history: JobHistory;
  readonly changes: Changes;
  /** Sequence when this process began: removals before it are not known. */
  readonly startSequence: number;
}

// Records and events of one read: a page, not a tenant, is in memory.
const PAGE = 500;

/** Jobs of a tenant (or one of them): now, a bookmark, then every change until `signal`. */
export async function* watchJobs(
  world: WatchWorld,
  query: JobQuery,
  signal: AbortSignal,
): AsyncGenerator<WatchJobsResponse, void, void> {
  // 1. Listen before reading: a change in between is seen twice, never missed.
  const news = listen(world.changes, signal);
  const known: Known = new Map();
  // A revision is given with a message only when everything up to it was said: who goes on from it misses nothing.
  let through = world.changes.sequence;
  try {
    // 2. What there is, or what changed since the revision.
    for await (const change of current(world, query, known)) yield at(change, query.revision);
    yield at({ change: "bookmark", job: undefined }, through);
    // 3. What changes: each job as it is now, however often it changed meanwhile.
    for (;;) {
      const uids = await news.next();
      if (signal.aborted) return;
      const next = world.changes.sequence;
      const said: JobChange[] = [];
      for (const uid of uids) {
        const change = changeOf(uid, await world.jobs.load(uid), { query, known });
        if (change !== null) said.push(change);
      }
      for (const [i, change] of said.entries()) {
        yield at(change, i === said.length - 1 ? next : through);
      }
      through = next;
    }
  } finally {
    news.close();
  }
}

type JobChange = Omit<WatchJobsResponse, "revision">;

function at(change: JobChange, revision: number): WatchJobsResponse {
  return { ...change, revision: BigInt(revision) };
}

interface JobQuery {
  readonly tenant: string;
  /** Empty: every job. */
  readonly name: string;
  /** 0, or the one of the last message of an earlier watch. */
  readonly revision: number;
}

/** Jobs that this watch has shown, as they were. */
type Known = Map<string, { readonly sequence: number; readonly job: Job }>;

async function* current(
  { jobs, changes, startSequence }: WatchWorld,
  query: JobQuery,
  known: Known,
): AsyncGenerator<JobChange, void, void> {
  const isResumed = query.revision > 0 && query.revision >= startSequence;
  const since = isResumed ? query.revision : 0;
  for await (const record of every(jobs, query.tenant)) {
    if (!isWanted(record, query)) continue;
    const job = wireOf(record);
    known.set(record.uid, { sequence: record.sequence, job });
    const change = isResumed ? "modified" : "added";
    if (record.sequence > since) yield { change, job };
  }
  if (!isResumed) return;
  for (const gone of changes.removedSince(since)) {
    if (isWanted(gone, query)) yield { change: "deleted", job: undefined };
  }
}

/** What to say of a job that changed; null when it is none of ours or was shown like this already. */
function changeOf(
  uid: string,
  record: JobRecord | null,
  { query, known }: { readonly query: JobQuery; readonly known: Known },
): JobChange | null {
  const before = known.get(uid);
  if (record === null) {
    known.delete(uid);
    return before === undefined ? null : { change: "deleted", job: before.job };
  }
  if (!isWanted(record, query) || record.sequence <= (before?.sequence ?? 0)) return null;
  const job = wireOf(record);
  known.set(uid, { sequence: record.sequence, job });
  return { change: before === undefined ? "added" : "modified", job };
}

function isWanted(job: { tenant: string; name: string }, { tenant, name }: JobQuery): boolean {
  return job.tenant === tenant && (name === "" || job.name === name);
}

/** Events after a sequence in their order; with `follow` also those to come. */
export async function* watchEvents(
  world: WatchWorld,
  query: {
    readonly tenant: string;
    readonly jobName: string | null;
    readonly afterSequence: number;
    readonly follow: boolean;
  },
  signal: AbortSignal,
): AsyncGenerator<WatchEventsResponse, void, void> {
  const news = listen(world.changes, signal);
  let after = query.afterSequence;
  try {
    while (!signal.aborted) {
      const rows: readonly EventRow[] = await world.history.events({
        tenant: query.tenant,
        jobName: query.jobName,
        afterSequence: after,
        limit: PAGE,
      });
      for (const row of rows) {
        yield { event: eventToWire(row) };
        after = row.sequence;
      }
      if (rows.length === PAGE) continue;
      if (!query.follow) return;
      await news.next();
    }
  } finally {
    news.close();
  }
}

async function* every(jobs: JobStore, tenant: string): AsyncGenerator<JobRecord, void, void> {
  let afterName = "";
  for (;;) {
    const page = await jobs.list({ tenant, afterName, limit: PAGE });
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return;
    afterName = last.name;
  }
}

interface News {
  /** The jobs that changed since the last call; waits for at least one, or for the end. */
  next(): Promise<readonly string[]>;
  close(): void;
}

/** Changes, gathered while their reader is busy: a slow reader costs one entry per job, not per change. */
function listen(changes: Changes, signal: AbortSignal): News {
  const dirty = new Set<string>();
  let wake: () => void = () => undefined;
  const leave = changes.subscribe((uid) => {
    dirty.add(uid);
    wake();
  });
  const stop = (): void => wake();
  signal.addEventListener("abort", stop, { once: true });
  return {
    next: async () => {
      if (dirty.size === 0 && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const uids = [...dirty];
      dirty.clear();
      return uids;
    },
    close: () => {
      leave();
      signal.removeEventListener("abort", stop);
    },
  };
}
