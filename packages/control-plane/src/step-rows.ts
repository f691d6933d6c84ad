import type { MeasureView } from "@shardwright/job/accounts";
import type { StepReport } from "@shardwright/proto";
import type { StepFacts } from "./core/events.ts";
import type { LaneTime } from "./core/relief.ts";
import {
  addStep,
  NO_RANK_STEP,
  NOTHING_MEASURED,
  type RankStep,
  slower,
} from "./core/step-measure.ts";
import type { JobHistory, LaneRow } from "./ports.ts";
import { laneRowsOf, laneTimeOf, rankStepOf } from "./rpc/agent-wire.ts";

/** What the journal holds after a batch of reports. */
export interface Recorded {
  /** Highest step without a gap. */
  readonly step: number;
  /** null while no report with a loss was heard. */
  readonly facts: StepFacts | null;
  /** Seconds of each step that is new in it and was timed. */
  readonly stepSeconds: readonly number[];
  /** The newest of each rank, once a step is complete. */
  readonly laneTimes: readonly LaneTime[];
  /**
   * Who is to be told: every member when the step is new, else those who told again what the journal holds. With a
   * thousand ranks a step comes in many batches, and most of them complete nothing.
   */
  readonly tell: "everybody" | readonly string[];
}

/** The reports of one job's ranks on their way into the journal; batches share one durable write. */
export interface StepRows {
  /** `known`: the job's last facts, for running totals. Rejects when a lane differs from what it was before. */
  add(report: StepReport, context: StepContext): void;
}

export interface StepContext {
  readonly uid: string;
  /** Whose report it is. */
  readonly member: string;
  /** That it computed in. */
  readonly generation: number;
  readonly lanes: number;
  readonly known: { readonly step: number; readonly facts: StepFacts | null };
}

export interface StepRowsWorld {
  readonly history: JobHistory;
  readonly now: () => number;
  /** After each batch. */
  readonly recorded: (uid: string, recorded: Recorded) => void;
  readonly failed: (uid: string, reason: unknown) => void;
}

interface Pending {
  rows: LaneRow[];
  /** Members of the reports in `rows`, with the lowest step of each. */
  tellers: Map<string, number>;
  /** The step that every member was told of. */
  toldStep: number;
  latest: StepReport | null;
  context: StepContext;
  running: boolean;
  /** Tokens of steps that are not complete yet, by step and lane. */
  readonly tokens: Map<number, Map<number, { trained: number; processed: number }>>;
  /** What ranks said of steps that are not complete yet. */
  readonly timed: Map<number, RankStep>;
  /** The newest of each rank that were not told yet. */
  readonly laneTimes: Map<number, LaneTime>;
  totals: { step: number; trained: number; processed: number; measured: MeasureView };
  /** When how many steps and tokens were done, lately: rates are told over it. */
  readonly window: { atMs: number; step: number; processed: number }[];
}

/** Rates over this many batches of reports: steady, yet they follow a change within seconds. */
const WINDOW_MAX = 20;
/** Jobs whose totals are kept in memory; the journal has them all. */
const JOBS_KEPT_MAX = 1_000;

export function createStepRows(world: StepRowsWorld): StepRows {
  const jobs = new Map<string, Pending>();
  const flush = async (uid: string, job: Pending): Promise<void> => {
    job.running = true;
    try {
      while (job.rows.length > 0) {
        const rows = job.rows;
        const tellers = job.tellers;
        job.rows = [];
        job.tellers = new Map();
        const step = await world.history.recordLanes(uid, rows, job.context.lanes);
        const tell = step > job.toldStep ? "everybody" : again(tellers, step);
        job.toldStep = Math.max(job.toldStep, step);
        const stepSeconds = countSteps(job, step);
        const laneTimes = tell === "everybody" ? [...job.laneTimes.values()] : [];
        if (tell === "everybody") job.laneTimes.clear();
        const facts = factsAfter(job, step, world.now());
        world.recorded(uid, { step, facts, stepSeconds, laneTimes, tell });
      }
    } catch (reason) {
      world.failed(uid, reason);
    } finally {
      job.running = false;
      forgetOldest(jobs);
    }
  };
  return {
    add: (report, context) => {
      const job = jobs.get(context.uid) ?? begin(context);
      jobs.set(context.uid, job);
      job.context = context;
      const { member } = context;
      const lowest = job.tellers.get(member) ?? Number.POSITIVE_INFINITY;
      job.tellers.set(member, Math.min(lowest, Number(report.step)));
      const rows = laneRowsOf(report);
      job.rows.push(...rows);
      for (const row of rows) noteTokens(job, row);
      noteTime(job, report);
      const laneTime = laneTimeOf(report, context.generation);
      if (laneTime !== null) job.laneTimes.set(report.rank, laneTime);
      // A rank that was not there for a step knows what it consumed, not its loss.
      const isKnown = [report.loss, report.gradNorm, report.learningRate].every(Number.isFinite);
      if (isKnown && (job.latest === null || report.step >= job.latest.step)) job.latest = report;
      if (!job.running) void flush(context.uid, job);
    },
  };
}

function begin(context: StepContext): Pending {
  const { known } = context;
  const totals = {
    step: known.step,
    trained: known.facts?.trainedTokens ?? 0,
    processed: known.facts?.processedTokens ?? 0,
    measured: known.facts?.measured ?? NOTHING_MEASURED,
  };
  return {
    rows: [],
    tellers: new Map(),
    toldStep: known.step,
    latest: null,
    context,
    running: false,
    tokens: new Map(),
    timed: new Map(),
    laneTimes: new Map(),
    totals,
    window: [],
  };
}

/** Members that told of steps which are on record: their acknowledgement was lost. */
function again(tellers: ReadonlyMap<string, number>, step: number): readonly string[] {
  return [...tellers].filter(([, lowest]) => lowest <= step).map(([member]) => member);
}

function noteTime(job: Pending, report: StepReport): void {
  const step = Number(report.step);
  if (step <= job.totals.step) return;
  job.timed.set(step, slower(job.timed.get(step) ?? NO_RANK_STEP, rankStepOf(report)));
}

function noteTokens(job: Pending, row: LaneRow): void {
  if (row.step <= job.totals.step) return;
  const lanes = job.tokens.get(row.step) ?? new Map();
  lanes.set(row.lane, { trained: row.trainedTokens, processed: row.processedTokens });
  job.tokens.set(row.step, lanes);
}

function forgetOldest(jobs: Map<string, Pending>): void {
  for (const [uid, { running, rows }] of jobs) {
    if (jobs.size <= JOBS_KEPT_MAX) return;
    if (!running && rows.length === 0) jobs.delete(uid);
  }
}

/** Takes every step that the journal now holds without a gap into the totals; the seconds of those that were timed. */
function countSteps(job: Pending, step: number): readonly number[] {
  const { totals } = job;
  const seconds: number[] = [];
  for (let next = totals.step + 1; next <= step; next++) {
    for (const { trained, processed } of job.tokens.get(next)?.values() ?? []) {
      totals.trained += trained;
      totals.processed += processed;
    }
    const timed = job.timed.get(next) ?? NO_RANK_STEP;
    totals.measured = addStep(totals.measured, timed);
    if (timed.seconds > 0) seconds.push(timed.seconds);
    job.tokens.delete(next);
    job.timed.delete(next);
  }
  return seconds;
}

/** Facts of the newest report, with totals over every step that was counted. */
function factsAfter(job: Pending, step: number, now: number): StepFacts | null {
  const { latest, totals, window } = job;
  if (latest === null) return null;
  if (step > totals.step || window.length === 0) {
    totals.step = Math.max(totals.step, step);
    window.push({ atMs: now, step: totals.step, processed: totals.processed });
    if (window.length > WINDOW_MAX) window.shift();
  }
  const [first] = window;
  const last = window.at(-1);
  const seconds = ((last?.atMs ?? 0) - (first?.atMs ?? 0)) / 1000;
  const steps = (last?.step ?? 0) - (first?.step ?? 0);
  const stepSeconds = rankStepOf(latest).seconds;
  return {
    loss: latest.loss,
    gradNorm: latest.gradNorm,
    learningRate: latest.learningRate,
    seconds: stepSeconds,
    meanSeconds: steps > 0 ? seconds / steps : stepSeconds,
    trainedTokens: totals.trained,
    processedTokens: totals.processed,
    measured: totals.measured,
    tokensPerSecond: seconds > 0 ? ((last?.processed ?? 0) - (first?.processed ?? 0)) / seconds : 0,
    atMs: now,
  };
}
