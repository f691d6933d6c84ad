import type { GenerationRow } from "../core/state.ts";
import type { EventDraft, EventRow, JobRecord, JobStore, LaneRow } from "../ports.ts";
import {
  ANSWER_KEPT_MS,
  type Bulletin,
  createBulletin,
  type Journal,
  laneDiffers,
  splitCursor,
} from "./journal.ts";

interface Entry {
  record: JobRecord;
  readonly generations: Map<number, GenerationRow>;
  /** Step → lane → row. */
  readonly lanes: Map<number, Map<number, LaneRow>>;
  completeStep: number;
}

/** The journal in memory: for tests and simulation. Keeps the very objects it is given; they are immutable. */
export function createMemoryJournal(now: () => number): Journal {
  return new MemoryJournal(now);
}

class MemoryJournal implements Journal {
  readonly subscribe: Journal["subscribe"];
  readonly removedSince: Journal["removedSince"];
  private readonly bulletin: Bulletin = createBulletin(0);
  private readonly entries = new Map<string, Entry>();
  private readonly answers = new Map<string, { answer: string; atMs: number }>();
  private readonly now: () => number;
  private rows: EventRow[] = [];

  constructor(now: () => number) {
    this.now = now;
    this.subscribe = this.bulletin.subscribe;
    this.removedSince = this.bulletin.removedSince;
  }

  get sequence(): number {
    return this.bulletin.sequence;
  }

  async create(
    given: Omit<JobRecord, "revision" | "sequence">,
    events: readonly EventDraft[],
  ): Promise<"created" | "exists"> {
    // Without a wait between the look and the entry: of two creators one must lose.
    if (this.named(given.tenant, given.name) !== undefined) return "exists";
    if (this.entries.has(given.uid)) throw new Error(`uid ${given.uid} is taken`);
    const record = { ...given, revision: 1, sequence: this.append(given, events) };
    this.entries.set(given.uid, {
      record,
      generations: new Map(),
      lanes: new Map(),
      completeStep: 0,
    });
    this.bulletin.changed(record.uid, record.sequence);
    return "created";
  }

  async load(uid: string): Promise<JobRecord | null> {
    return this.entries.get(uid)?.record ?? null;
  }

  async find(tenant: string, name: string): Promise<JobRecord | null> {
    return this.named(tenant, name) ?? null;
  }

  async list({ tenant, afterName, limit }: Parameters<JobStore["list"]>[0]) {
    const [afterTenant, afterRest] = splitCursor(afterName);
    return this.records()
      .filter((job) =>
        tenant === null
          ? (byText(job.tenant, afterTenant) || byText(job.name, afterRest)) > 0
          : job.tenant === tenant && job.name > afterName,
      )
      .sort((a, b) => byText(a.tenant, b.tenant) || byText(a.name, b.name))
      .slice(0, limit);
  }

  async unfinished(): Promise<readonly JobRecord[]> {
    return this.records()
      .filter(
        ({ state: { phase, effects } }) =>
          (phase !== "complete" && phase !== "failed" && phase !== "cancelled") ||
          effects.length > 0,
      )
      .sort((a, b) => a.createdMs - b.createdMs || byText(a.uid, b.uid));
  }

  async save(change: Parameters<JobStore["save"]>[0]): ReturnType<JobStore["save"]> {
    const entry = this.entries.get(change.uid);
    if (entry === undefined || entry.record.revision !== change.expect) return { saved: false };
    const { state, status, finishedMs } = change;
    const revision = entry.record.revision + 1;
    const sequence = this.append(entry.record, change.events);
    entry.record = { ...entry.record, revision, sequence, state, status, finishedMs };
    if (change.generation !== null) {
      entry.generations.set(change.generation.generation, change.generation);
    }
    this.bulletin.changed(change.uid, sequence);
    return { saved: true, record: entry.record };
  }

  async remove(uid: string): Promise<void> {
    const entry = this.entries.get(uid);
    if (entry === undefined) return;
    this.entries.delete(uid);
    this.rows = this.rows.filter((row) => row.uid !== uid);
    const { tenant, name } = entry.record;
    this.bulletin.removed({ uid, tenant, name, sequence: this.sequence + 1 });
  }

  async recordLanes(uid: string, rows: readonly LaneRow[], lanes: number): Promise<number> {
    const entry = this.entries.get(uid);
    if (entry === undefined) return 0;
    const known = (row: LaneRow) => entry.lanes.get(row.step)?.get(row.lane);
    const differing = rows.find((row) => {
      const before = known(row);
      return before !== undefined && String(before.exampleIds) !== String(row.exampleIds);
    });
    if (differing !== undefined) throw laneDiffers(uid, differing.step, differing.lane);
    for (const row of rows) {
      const ofStep = entry.lanes.get(row.step) ?? new Map<number, LaneRow>();
      entry.lanes.set(row.step, ofStep);
      if (!ofStep.has(row.lane)) ofStep.set(row.lane, row);
    }
    while ((entry.lanes.get(entry.completeStep + 1)?.size ?? 0) >= lanes) entry.completeStep += 1;
    return entry.completeStep;
  }

  async *consumed(uid: string, stepMax: number): AsyncGenerator<readonly number[], void, void> {
    const steps = [...(this.entries.get(uid)?.lanes ?? [])].sort(([a], [b]) => a - b);
    for (const [step, lanes] of steps) {
      if (step > stepMax) return;
      for (const [, row] of [...lanes].sort(([a], [b]) => a - b)) yield row.exampleIds;
    }
  }

  async generations(uid: string): Promise<readonly GenerationRow[]> {
    const rows = this.entries.get(uid)?.generations.values() ?? [];
    return [...rows].sort((a, b) => a.generation - b.generation);
  }

  async events(query: Parameters<Journal["events"]>[0]): Promise<readonly EventRow[]> {
    return this.rows
      .filter((row) => row.tenant === query.tenant && row.sequence > query.afterSequence)
      .filter((row) => query.jobName === null || row.jobName === query.jobName)
      .slice(0, query.limit);
  }

  async answered(tenant: string, requestId: string): Promise<string | null> {
    const known = this.answers.get(answerKey(tenant, requestId));
    return known === undefined || known.atMs <= this.now() - ANSWER_KEPT_MS ? null : known.answer;
  }

  async rememberAnswer(tenant: string, requestId: string, answer: string): Promise<void> {
    for (const [key, { atMs }] of this.answers) {
      if (atMs <= this.now() - ANSWER_KEPT_MS) this.answers.delete(key);
    }
    const key = answerKey(tenant, requestId);
    if (!this.answers.has(key)) this.answers.set(key, { answer, atMs: this.now() });
  }

  async close(): Promise<void> {
    // Nothing to release.
  }

  private named(tenant: string, name: string): JobRecord | undefined {
    return this.records().find((job) => job.tenant === tenant && job.name === name);
  }

  private records(): JobRecord[] {
    return [...this.entries.values()].map(({ record }) => record);
  }

  /** Numbers the events and returns the job's own number, which follows theirs. */
  private append(
    job: { readonly uid: string; readonly tenant: string; readonly name: string },
    events: readonly EventDraft[],
  ): number {
    const first = this.sequence + 1;
    const { uid, tenant, name: jobName } = job;
    events.forEach((event, at) => {
      this.rows.push({ ...event, sequence: first + at, tenant, jobName, uid });
    });
    return first + events.length;
  }
}

function answerKey(tenant: string, requestId: string): string {
  return JSON.stringify([tenant, requestId]);
}

function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
