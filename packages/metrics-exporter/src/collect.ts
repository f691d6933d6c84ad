import { Fault, type JobView, jobFromWire } from "@shardwright/job";
import type { JobServiceClient, WatchJobsResponse } from "@shardwright/proto";
import type { Clock } from "@shardwright/service/clock";
import type { Log } from "@shardwright/service/log";
import type { Connection } from "@shardwright/service/rpc-client";
import type { Board } from "./board.ts";

export interface CollectOptions {
  readonly connection: Connection<JobServiceClient>;
  readonly tenant: string;
  readonly board: Board;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

// A watch that ended is opened again after this; a scrape interval is longer.
const RETRY_MS = 1_000;
const CALL_DEADLINE_MS = 5_000;

/** Follows the jobs of one tenant onto the board until `signal`. A lost control plane is waited for. */
export async function collect(options: CollectOptions): Promise<void> {
  let said = "";
  while (!options.signal.aborted) {
    try {
      await watchOnce(options);
      said = "";
    } catch (reason) {
      const fault = Fault.from(reason);
      // Said when it changes, not at every try.
      if (fault.message !== said) options.log.warn({ err: fault }, "job watch failed");
      said = fault.message;
    }
    await options.clock.sleep(RETRY_MS, options.signal);
  }
}

/** One watch from its beginning: the current jobs, a bookmark, then changes until the server ends it. */
async function watchOnce(options: CollectOptions): Promise<void> {
  const { connection, tenant, board, signal } = options;
  const current = new Set<string>();
  let isComplete = false;
  const request = { tenant, name: "", revision: 0n };
  for await (const message of connection.stream((jobs) => jobs.watchJobs, request, signal)) {
    if (message.change === "bookmark" && !isComplete) {
      isComplete = true;
      board.keepOnly(tenant, current);
    }
    const job = jobOf(message);
    if (job === undefined) continue;
    if (!isComplete) current.add(job.name);
    if (message.change === "deleted") board.drop(job.tenant, job.name);
    else await show(job, options);
  }
}

async function show(job: JobView, { connection, board, log }: CollectOptions): Promise<void> {
  if (!board.put(job)) return;
  try {
    const { members } = await connection.call(
      (jobs) => jobs.listMembers,
      { tenant: job.tenant, jobName: job.name },
      { deadlineMs: CALL_DEADLINE_MS },
    );
    board.putMembers(
      job,
      members.map(({ name, node }) => ({ member: name, pod: "", node })),
    );
  } catch (reason) {
    // Asked again at the next change of the job; its other series do not wait for it.
    log.warn({ err: reason, job: job.name }, "members of a job could not be read");
  }
}

function jobOf({ job }: WatchJobsResponse): JobView | undefined {
  return job === undefined ? undefined : jobFromWire(job);
}
