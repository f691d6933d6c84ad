import type { JobView, PlanView } from "@shardwright/job/phase";
import { jobFromWire, planFromWire } from "@shardwright/job/wire";
import type { Event } from "@shardwright/proto/gen/shardwright/v1/event";
import type { Job } from "@shardwright/proto/gen/shardwright/v1/job";
import {
  type ExplainJobResponse,
  type Generation,
  type GetBlockMapResponse,
  JobServiceClient,
  type Member,
  type StreamLogsResponse,
} from "@shardwright/proto/gen/shardwright/v1/job_service";
import { connect } from "@shardwright/service/rpc-client";
import { findTarget } from "../context.ts";
import type { Invocation } from "../invocation.ts";

/** JobService as verbs use it: plain promises and iterables; every failure is a Fault. */
export interface Jobs {
  readonly address: string;
  submit(documentJson: string, dryRun: boolean): Promise<Submitted>;
  plan(
    documentJson: string,
  ): Promise<{ readonly plan: PlanView; readonly warnings: readonly string[] }>;
  get(name: string): Promise<JobView>;
  /** All pages. */
  list(): Promise<{ readonly jobs: readonly JobView[]; readonly revision: bigint }>;
  watch(name: string, revision: bigint, signal?: AbortSignal): AsyncIterable<JobChange>;
  cancel(name: string): Promise<JobView>;
  scale(name: string, members: number): Promise<JobView>;
  remove(name: string, deleteCheckpoints: boolean): Promise<void>;
  explain(name: string): Promise<ExplainJobResponse>;
  logs(name: string, which: LogQuery, signal?: AbortSignal): AsyncIterable<StreamLogsResponse>;
  events(name: string, which: EventQuery, signal?: AbortSignal): AsyncIterable<Event>;
  members(name: string): Promise<readonly Member[]>;
  generations(name: string): Promise<readonly Generation[]>;
  /** Of the committed generation; generation 0 and no map while there is none. */
  blockMap(name: string): Promise<GetBlockMapResponse>;
  close(): void;
}

export interface Submitted {
  readonly job: JobView;
  /** `created`, `configured` or `unchanged`. */
  readonly outcome: string;
  readonly warnings: readonly string[];
}

/** One message of a watch; a bookmark has no job. */
export interface JobChange {
  readonly change: string;
  readonly job: JobView | null;
  readonly revision: bigint;
}

export interface LogQuery {
  readonly follow: boolean;
  /** 0 = all that are kept. */
  readonly tail: number;
  readonly rank: number | undefined;
  readonly member: string;
}

export interface EventQuery {
  readonly follow: boolean;
  readonly after: bigint;
}

// One page of `list`; the server may give fewer.
const PAGE_SIZE = 500;

/** Opens JobService of the control plane that the settings name. Nothing is sent yet. */
export function openJobs(call: Invocation): Jobs {
  const { tenant, requestTimeoutMs: deadlineMs } = call.settings;
  const target = findTarget(call.settings, call.io);
  const connection = connect(JobServiceClient, target.address, target.token);
  const unary = <Q, R>(
    method: Parameters<typeof connection.call<Q, R>>[0],
    request: Q,
  ): Promise<R> => connection.call(method, request, { deadlineMs });
  const requestId = (): string => crypto.randomUUID();
  return {
    address: target.address,
    submit: async (documentJson, dryRun) => {
      const request = { requestId: requestId(), tenant, documentJson, dryRun };
      const { job, outcome, warnings } = await unary((client) => client.submitJob, request);
      return { job: present(job), outcome, warnings };
    },
    plan: async (documentJson) => {
      const { plan, warnings } = await unary((client) => client.planJob, { tenant, documentJson });
      if (plan === undefined) throw new Error("the control plane answered without a plan");
      return { plan: planFromWire(plan), warnings };
    },
    get: async (name) => {
      const { job } = await unary((client) => client.getJob, { tenant, name });
      return present(job);
    },
    list: async () => {
      const jobs: JobView[] = [];
      let page = { nextPageToken: "", revision: 0n };
      do {
        const request = { tenant, pageToken: page.nextPageToken, pageSize: PAGE_SIZE };
        const answer = await unary((client) => client.listJobs, request);
        jobs.push(...answer.jobs.map(jobFromWire));
        page = answer;
      } while (page.nextPageToken !== "");
      return { jobs, revision: page.revision };
    },
    watch: async function* (name, revision, signal) {
      const request = { tenant, name, revision };
      for await (const message of connection.stream(
        (client) => client.watchJobs,
        request,
        signal,
      )) {
        yield { ...message, job: message.job === undefined ? null : jobFromWire(message.job) };
      }
    },
    cancel: async (name) => {
      const request = { requestId: requestId(), tenant, name };
      return present((await unary((client) => client.cancelJob, request)).job);
    },
    scale: async (name, membersCount) => {
      const request = { requestId: requestId(), tenant, name, membersCount };
      return present((await unary((client) => client.scaleJob, request)).job);
    },
    remove: async (name, deleteCheckpoints) => {
      const request = { requestId: requestId(), tenant, name, deleteCheckpoints };
      await unary((client) => client.deleteJob, request);
    },
    explain: (name) => unary((client) => client.explainJob, { tenant, name }),
    logs: (name, { follow, tail, rank, member }, signal) =>
      connection.stream(
        (client) => client.streamLogs,
        { tenant, name, follow, tailLinesCount: tail, rank, member },
        signal,
      ),
    events: async function* (jobName, { follow, after }, signal) {
      const request = { tenant, jobName, follow, afterSequence: after };
      for await (const { event } of connection.stream(
        (client) => client.watchEvents,
        request,
        signal,
      )) {
        if (event !== undefined) yield event;
      }
    },
    members: async (jobName) =>
      (await unary((client) => client.listMembers, { tenant, jobName })).members,
    generations: async (jobName) =>
      (await unary((client) => client.listGenerations, { tenant, jobName })).generations,
    blockMap: (jobName) => unary((client) => client.getBlockMap, { tenant, jobName }),
    close: () => connection.close(),
  };
}

function present(job: Job | undefined): JobView {
  if (job === undefined) throw new Error("the control plane answered without a job");
  return jobFromWire(job);
}

/** Runs `work` with an open JobService and closes it whatever happens. */
export async function withJobs<T>(call: Invocation, work: (jobs: Jobs) => Promise<T>): Promise<T> {
  const jobs = openJobs(call);
  try {
    return await work(jobs);
  } finally {
    jobs.close();
  }
}
