import { Fault, isFinal, specToJson } from "@shardwright/job";
import {
  CancelJobResponse,
  DeleteJobResponse,
  type JobServiceServer,
  ScaleJobResponse,
  StreamLogsResponse,
  type SubmitJobRequest,
  type SubmitJobResponse,
} from "@shardwright/proto";
import { serverStream, unary } from "@shardwright/service/rpc-server";
import { followLogs, type LogLine, readLogs, TAIL_LINES_MAX } from "../logs.ts";
import type { Changes, EventRow, JobControl } from "../ports.ts";
import { jobNamed, readDocument, tenantOf } from "./job-door.ts";
import { acceptJob, type SubmitWorld } from "./job-submit.ts";
import {
  blockMapOf,
  explainJob,
  generationToWire,
  membersOf,
  planOutcomeToWire,
  wireOf,
} from "./job-views.ts";
import { watchEvents, watchJobs } from "./job-watch.ts";

export interface JobServiceOptions extends SubmitWorld {
  readonly changes: Changes;
  readonly control: JobControl;
  readonly drain: AbortSignal;
  /** Folder of the logs of a job's members. */
  logsDirectory(uid: string): string;
}

const LIST_PAGE_DEFAULT = 100;
const LIST_PAGE_MAX = 500;
const EVENTS_EXPLAINED = 1_000;
const WARNINGS_SHOWN = 10;

/**
 * What people and scripts ask of the control plane. The caller's token is checked by the server that serves it;
 * every method looks only into the tenant that the request names.
 */
export function jobService(options: JobServiceOptions): JobServiceServer {
  return { ...mutations(options), ...lookups(options), ...streams(options) };
}

/** Accepts the job, then has it looked at; a request that is repeated wakes it again, which is harmless. */
async function submitJob(
  request: SubmitJobRequest,
  options: JobServiceOptions,
): Promise<SubmitJobResponse> {
  const response = await acceptJob(request, options);
  if (response.outcome === "created" && !request.dryRun && response.job !== undefined) {
    options.control.wake(response.job.uid);
  }
  return response;
}

type Methods<K extends keyof JobServiceServer> = { [M in K]: JobServiceServer[M] };

type Mutation = "submitJob" | "cancelJob" | "scaleJob" | "deleteJob";

function mutations(options: JobServiceOptions): Methods<Mutation> {
  const { jobs, control } = options;
  return {
    submitJob: unary((request) => submitJob(request, options)),
    cancelJob: unary(async (request) => {
      const { uid, name } = await jobNamed(jobs, request, request.name);
      await control.cancel(uid);
      const record = await jobs.load(uid);
      if (record === null) throw new Fault("not_found", `job ${name} was deleted`);
      return CancelJobResponse.create({ job: wireOf(record) });
    }),
    scaleJob: unary(async (request) => {
      const { uid, name } = await jobNamed(jobs, request, request.name);
      await control.scale(uid, request.membersCount);
      const record = await jobs.load(uid);
      if (record === null) throw new Fault("not_found", `job ${name} was deleted`);
      return ScaleJobResponse.create({ job: wireOf(record) });
    }),
    deleteJob: unary(async (request) => {
      const record = await jobs.find(tenantOf(request), request.name);
      // Deleting what is gone is success: the first answer may have been lost.
      if (record !== null) await control.remove(record.uid, request.deleteCheckpoints);
      return DeleteJobResponse.create();
    }),
  };
}

type Lookup =
  | "getJob"
  | "listJobs"
  | "planJob"
  | "explainJob"
  | "listMembers"
  | "listGenerations"
  | "getBlockMap";

function lookups(options: JobServiceOptions): Methods<Lookup> {
  const { jobs, history, changes } = options;
  return {
    getJob: unary(async (request) => ({
      job: wireOf(await jobNamed(jobs, request, request.name)),
    })),
    listJobs: unary(async (request) => {
      const limit = Math.min(request.pageSize || LIST_PAGE_DEFAULT, LIST_PAGE_MAX);
      const revision = BigInt(changes.sequence);
      const page = await jobs.list({
        tenant: tenantOf(request),
        afterName: request.pageToken,
        limit,
      });
      const nextPageToken = page.length < limit ? "" : (page.at(-1)?.name ?? "");
      return { jobs: page.map(wireOf), nextPageToken, revision };
    }),
    planJob: unary(async (request) => {
      const { document, warnings } = readDocument(request.documentJson);
      const reading = await options.plan(tenantOf(request), document);
      if (!reading.ok) {
        throw new Fault("invalid", "the job cannot be planned", { complaints: reading.complaints });
      }
      const plan = planOutcomeToWire(reading.outcome);
      return {
        plan,
        specJson: specToJson(document.spec),
        warnings: [...warnings, ...plan.warnings],
      };
    }),
    explainJob: unary(async (request) => {
      const record = await jobNamed(jobs, request, request.name);
      const events = await lastEvents(options, record);
      return explainJob(
        record,
        events.filter(({ severity }) => severity === "warning").slice(-WARNINGS_SHOWN),
      );
    }),
    listMembers: unary(async (request) => ({
      members: membersOf(await jobNamed(jobs, request, request.jobName)),
    })),
    listGenerations: unary(async (request) => {
      const { uid } = await jobNamed(jobs, request, request.jobName);
      return { generations: (await history.generations(uid)).map(generationToWire) };
    }),
    getBlockMap: unary(async (request) =>
      blockMapOf(await jobNamed(jobs, request, request.jobName)),
    ),
  };
}

function streams(options: JobServiceOptions): Methods<"watchJobs" | "watchEvents" | "streamLogs"> {
  const { jobs, history, changes, drain } = options;
  const watchWorld = { jobs, history, changes, startSequence: changes.sequence };
  return {
    watchJobs: serverStream(drain, (request, { signal }) =>
      watchJobs(
        watchWorld,
        {
          tenant: tenantOf(request),
          name: request.name,
          revision: sequenceOf(request.revision, "revision"),
        },
        signal,
      ),
    ),
    watchEvents: serverStream(drain, async function* (request, { signal }) {
      if (request.jobName !== "") await jobNamed(jobs, request, request.jobName);
      const query = {
        tenant: tenantOf(request),
        jobName: request.jobName === "" ? null : request.jobName,
        afterSequence: sequenceOf(request.afterSequence, "after_sequence"),
        follow: request.follow,
      };
      yield* watchEvents(watchWorld, query, signal);
    }),
    streamLogs: serverStream(drain, async function* (request, { signal }) {
      const { uid } = await jobNamed(jobs, request, request.name);
      const query = {
        directory: options.logsDirectory(uid),
        member: request.member,
        rank: request.rank ?? null,
        tailLines: Math.min(request.tailLinesCount, TAIL_LINES_MAX),
      };
      const isOver = async (): Promise<boolean> => {
        const record = await jobs.load(uid);
        return record === null || isFinal(record.status.state);
      };
      const { clock } = options;
      const lines = request.follow ? followLogs(query, { clock, signal, isOver }) : readLogs(query);
      for await (const line of lines) yield lineToWire(line);
    }),
  };
}

/** The newest events of a job, up to a bound. */
async function lastEvents(
  { history }: JobServiceOptions,
  job: { readonly tenant: string; readonly name: string },
): Promise<readonly EventRow[]> {
  let rows: readonly EventRow[] = [];
  for (;;) {
    const afterSequence = rows.at(-1)?.sequence ?? 0;
    const query = { tenant: job.tenant, jobName: job.name, afterSequence, limit: EVENTS_EXPLAINED };
    const page = await history.events(query);
    rows = [...rows, ...page].slice(-EVENTS_EXPLAINED);
    if (page.length < EVENTS_EXPLAINED) return rows;
  }
}

function sequenceOf(value: bigint, path: string): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new Fault("invalid", "the request is wrong", {
    complaints: [{ path, problem: `${value} was never given out` }],
  });
}

function lineToWire({
  timeMs,
  member,
  rank,
  generation,
  level,
  text,
}: LogLine): StreamLogsResponse {
  return StreamLogsResponse.create({
    time: new Date(timeMs),
    member,
    ...(rank === null ? {} : { rank }),
    generation: BigInt(generation),
    level,
    text,
  });
}
