import type { GenerationRow } from "../core/state.ts";
import type {
  EventDraft,
  EventRow,
  JobChange,
  JobRecord,
  JobStore,
  LaneRow,
  Page,
} from "../ports.ts";
import {
  ANSWER_KEPT_MS,
  type Bulletin,
  createBulletin,
  type Journal,
  laneDiffers,
  splitCursor,
} from "./journal.ts";
import { changingText, isSettledSame, type Settled, settledOf, stateOf } from "./settled-state.ts";
import type { Queries, Row, SqlDatabase } from "./sql-database.ts";

// Rows of one read; larger answers are read page by page.
const CONSUMED_PAGE_ROWS = 1_000;

/** The journal on a migrated SQL database; the same statements for SQLite and PostgreSQL. */
export async function openSqlJournal(database: SqlDatabase, now: () => number): Promise<Journal> {
  const row = await database.committed.get("SELECT value FROM counters WHERE name = 'sequence'");
  return new SqlJournal(database, createBulletin(Number(row?.["value"] ?? 0)), now);
}

class SqlJournal implements Journal {
  readonly subscribe: Journal["subscribe"];
  readonly removedSince: Journal["removedSince"];
  private readonly database: SqlDatabase;
  private readonly bulletin: Bulletin;
  private readonly now: () => number;
  /** What stands in the settled column, as far as this process has written it; by job that is not over. */
  private readonly settled = new Map<string, Settled>();

  constructor(database: SqlDatabase, bulletin: Bulletin, now: () => number) {
    this.database = database;
    this.bulletin = bulletin;
    this.now = now;
    this.subscribe = bulletin.subscribe;
    this.removedSince = bulletin.removedSince;
  }

  get sequence(): number {
    return this.bulletin.sequence;
  }

  async create(
    record: Omit<JobRecord, "revision" | "sequence">,
    events: readonly EventDraft[],
  ): Promise<"created" | "exists"> {
    const sequence = await this.database.write(async (queries) => {
      const taken = await queries.get(
        "SELECT uid FROM jobs WHERE tenant = $1 AND name = $2",
        record.tenant,
        record.name,
      );
      if (taken !== undefined) return null;
      const last = await allocate(queries, events.length + 1);
      await queries.run(
        `INSERT INTO jobs (uid, tenant, name, revision, sequence, created_ms, finished_ms, is_final,
          document, state, status, complete_step)
         VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, $10, 0)`,
        record.uid,
        record.tenant,
        record.name,
        last,
        record.createdMs,
        record.finishedMs,
        isFinal(record.state) ? 1 : 0,
        JSON.stringify(record.document),
        JSON.stringify(record.state),
        JSON.stringify(record.status),
      );
      await insertEvents(queries, record, { events, last });
      return last;
    });
    if (sequence === null) return "exists";
    this.bulletin.changed(record.uid, sequence);
    return "created";
  }

  async load(uid: string): Promise<JobRecord | null> {
    return recordOrNull(await this.database.committed.get(`${SELECT_JOB} WHERE uid = $1`, uid));
  }

  async find(tenant: string, name: string): Promise<JobRecord | null> {
    const sql = `${SELECT_JOB} WHERE tenant = $1 AND name = $2`;
    return recordOrNull(await this.database.committed.get(sql, tenant, name));
  }

  async list({ tenant, afterName, limit }: Page): Promise<readonly JobRecord[]> {
    const { committed } = this.database;
    if (tenant !== null) {
      const sql = `${SELECT_JOB} WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $3`;
      return (await committed.all(sql, tenant, afterName, limit)).map(asRecord);
    }
    const sql = `${SELECT_JOB} WHERE (tenant, name) > ($1, $2) ORDER BY tenant, name LIMIT $3`;
    return (await committed.all(sql, ...splitCursor(afterName), limit)).map(asRecord);
  }

  async unfinished(): Promise<readonly JobRecord[]> {
    const sql = `${SELECT_JOB} WHERE is_final = 0 ORDER BY created_ms, uid`;
    return (await this.database.committed.all(sql)).map(asRecord);
  }

  async save(change: JobChange): ReturnType<JobStore["save"]> {
    const settled = settledOf(change.state);
    // Who saves has read what was written last, so the same objects are what the column holds.
    const written = this.settled.get(change.uid);
    const record = await this.database.write(async (queries) => {
      // Not the state that is about to be replaced: it is large, and reading it would cost as much as writing it.
      const row = await queries.get(
        `SELECT uid, tenant, name, created_ms, document FROM jobs WHERE uid = $1 AND revision = $2`,
        change.uid,
        change.expect,
      );
      if (row === undefined) return null;
      const before = frameOf(row);
      const { state, status, finishedMs } = change;
      const last = await allocate(queries, change.events.length + 1);
      await queries.run(
        `UPDATE jobs SET revision = revision + 1, sequence = $2, state = $3, status = $4,
          finished_ms = $5, is_final = $6 WHERE uid = $1`,
        change.uid,
        last,
        changingText(state),
        JSON.stringify(status),
        finishedMs,
        isFinal(state) ? 1 : 0,
      );
      if (written === undefined || !isSettledSame(written, settled)) {
        const text = JSON.stringify(settled);
        await queries.run("UPDATE jobs SET settled = $2 WHERE uid = $1", change.uid, text);
      }
      await insertEvents(queries, before, { events: change.events, last });
      if (change.generation !== null) await putGeneration(queries, change.uid, change.generation);
      return {
        ...before,
        revision: change.expect + 1,
        sequence: last,
        state,
        status,
        finishedMs,
      };
    });
    if (record === null) return { saved: false };
    if (isFinal(record.state)) this.settled.delete(record.uid);
    else this.settled.set(record.uid, settled);
    this.bulletin.changed(record.uid, record.sequence);
    return { saved: true, record };
  }

  async remove(uid: string): Promise<void> {
    const removal = await this.database.write(async (queries) => {
      const job = await queries.get("SELECT tenant, name FROM jobs WHERE uid = $1", uid);
      if (job === undefined) return null;
      const sequence = await allocate(queries, 1);
      for (const table of ["jobs", "events", "generations", "lanes"]) {
        await queries.run(`DELETE FROM ${table} WHERE uid = $1`, uid);
      }
      return { uid, tenant: String(job["tenant"]), name: String(job["name"]), sequence };
    });
    this.settled.delete(uid);
    if (removal !== null) this.bulletin.removed(removal);
  }

  async recordLanes(uid: string, rows: readonly LaneRow[], lanes: number): Promise<number> {
    return await this.database.write(async (queries) => {
      const job = await queries.get("SELECT complete_step FROM jobs WHERE uid = $1", uid);
      if (job === undefined) return 0; // removed: its late reports belong nowhere
      for (const row of rows) await insertLane(queries, uid, row);
      const before = Number(job["complete_step"]);
      let complete = before;
      while ((await lanesOf(queries, uid, complete + 1)) >= lanes) complete += 1;
      if (complete > before) {
        await queries.run("UPDATE jobs SET complete_step = $2 WHERE uid = $1", uid, complete);
      }
      return complete;
    });
  }

  async *consumed(uid: string, stepMax: number): AsyncGenerator<readonly number[], void, void> {
    let step = 0;
    let lane = -1;
    for (;;) {
      const rows = await this.database.committed.all(
        `SELECT step, lane, example_ids FROM lanes
         WHERE uid = $1 AND step <= $2 AND (step > $3 OR (step = $3 AND lane > $4))
         ORDER BY step, lane LIMIT $5`,
        uid,
        stepMax,
        step,
        lane,
        CONSUMED_PAGE_ROWS,
      );
      for (const row of rows) yield JSON.parse(String(row["example_ids"])) as readonly number[];
      const last = rows.at(-1);
      if (last === undefined) return;
      step = Number(last["step"]);
      lane = Number(last["lane"]);
    }
  }

  async generations(uid: string): Promise<readonly GenerationRow[]> {
    const sql = "SELECT facts FROM generations WHERE uid = $1 ORDER BY generation";
    const rows = await this.database.committed.all(sql, uid);
    return rows.map((row) => JSON.parse(String(row["facts"])) as GenerationRow);
  }

  async events(query: Parameters<Journal["events"]>[0]): Promise<readonly EventRow[]> {
    const { tenant, jobName, afterSequence, limit } = query;
    const { committed } = this.database;
    const rows =
      jobName === null
        ? await committed.all(
            "SELECT * FROM events WHERE tenant = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
            ...[tenant, afterSequence, limit],
          )
        : await committed.all(
            `SELECT * FROM events WHERE tenant = $1 AND sequence > $2 AND job_name = $4
             ORDER BY sequence LIMIT $3`,
            ...[tenant, afterSequence, limit, jobName],
          );
    return rows.map(asEvent);
  }

  async answered(tenant: string, requestId: string): Promise<string | null> {
    const row = await this.database.committed.get(
      "SELECT answer FROM answers WHERE tenant = $1 AND request_id = $2 AND answered_ms > $3",
      ...[tenant, requestId, this.now() - ANSWER_KEPT_MS],
    );
    return row === undefined ? null : String(row["answer"]);
  }

  async rememberAnswer(tenant: string, requestId: string, answer: string): Promise<void> {
    const now = this.now();
    await this.database.write(async (queries) => {
      await queries.run("DELETE FROM answers WHERE answered_ms <= $1", now - ANSWER_KEPT_MS);
      // The first answer stays: who asked twice at once gets the same one.
      await queries.run(
        `INSERT INTO answers (tenant, request_id, answer, answered_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant, request_id) DO NOTHING`,
        ...[tenant, requestId, answer, now],
      );
    });
  }

  async close(): Promise<void> {
    await this.database.close();
  }
}

const SELECT_JOB = `SELECT uid, tenant, name, revision, sequence, created_ms, finished_ms, document,
  state, settled, status FROM jobs`;

/** Takes `count` numbers of the journal-wide sequence and returns the last of them. */
async function allocate(queries: Queries, count: number): Promise<number> {
  const row = await queries.get(
    "UPDATE counters SET value = value + $1 WHERE name = 'sequence' RETURNING value",
    count,
  );
  return Number(row?.["value"]);
}

/** The events get the numbers before `last`, which is the job's own. */
async function insertEvents(
  queries: Queries,
  job: { readonly uid: string; readonly tenant: string; readonly name: string },
  { events, last }: { readonly events: readonly EventDraft[]; readonly last: number },
): Promise<void> {
  for (const [at, event] of events.entries()) {
    await queries.run(
      `INSERT INTO events (tenant, sequence, uid, job_name, time_ms, code, sentence, generation, step,
        severity) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
      ...[job.tenant, last - events.length + at, job.uid, job.name],
      ...[event.timeMs, event.reason.code, event.reason.sentence],
      ...[event.generation, event.step, event.severity],
    );
  }
}

async function putGeneration(queries: Queries, uid: string, row: GenerationRow): Promise<void> {
  await queries.run(
    `INSERT INTO generations (uid, generation, facts) VALUES ($1, $2, $3)
     ON CONFLICT (uid, generation) DO UPDATE SET facts = excluded.facts`,
    ...[uid, row.generation, JSON.stringify(row)],
  );
}

async function insertLane(queries: Queries, uid: string, row: LaneRow): Promise<void> {
  const ids = JSON.stringify(row.exampleIds);
  const inserted = await queries.run(
    `INSERT INTO lanes (uid, step, lane, loss_sum, example_ids, trained_tokens, processed_tokens)
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (uid, step, lane) DO NOTHING`,
    // A loss that is no number ends the job; what was consumed must be on record all the same.
    ...[uid, row.step, row.lane, Number.isFinite(row.lossSum) ? row.lossSum : null],
    ...[ids, row.trainedTokens, row.processedTokens],
  );
  if (inserted > 0) return;
  const known = await queries.get(
    "SELECT example_ids FROM lanes WHERE uid = $1 AND step = $2 AND lane = $3",
    ...[uid, row.step, row.lane],
  );
  if (known?.["example_ids"] !== ids) throw laneDiffers(uid, row.step, row.lane);
}

async function lanesOf(queries: Queries, uid: string, step: number): Promise<number> {
  const sql = "SELECT count(*) AS lanes FROM lanes WHERE uid = $1 AND step = $2";
  return Number((await queries.get(sql, uid, step))?.["lanes"]);
}

/** Over, and nothing of it is left to be cleaned up. */
function isFinal({ phase, effects }: JobRecord["state"]): boolean {
  return (
    (phase === "complete" || phase === "failed" || phase === "cancelled") && effects.length === 0
  );
}

function recordOrNull(row: Row | undefined): JobRecord | null {
  return row === undefined ? null : asRecord(row);
}

/** What of a job never changes. */
function frameOf(row: Row): Pick<JobRecord, "uid" | "tenant" | "name" | "createdMs" | "document"> {
  return {
    uid: String(row["uid"]),
    tenant: String(row["tenant"]),
    name: String(row["name"]),
    createdMs: Number(row["created_ms"]),
    document: JSON.parse(String(row["document"])) as JobRecord["document"],
  };
}

function asRecord(row: Row): JobRecord {
  return {
    ...frameOf(row),
    revision: Number(row["revision"]),
    sequence: Number(row["sequence"]),
    finishedMs: row["finished_ms"] === null ? null : Number(row["finished_ms"]),
    state: stateOf(String(row["state"]), textOrNull(row["settled"])),
    status: JSON.parse(String(row["status"])) as JobRecord["status"],
  };
}

function textOrNull(value: Row[string] | undefined): string | null {
  return value === null || value === undefined ? null : String(value);
}

function asEvent(row: Row): EventRow {
  return {
    sequence: Number(row["sequence"]),
    tenant: String(row["tenant"]),
    jobName: String(row["job_name"]),
    uid: String(row["uid"]),
    timeMs: Number(row["time_ms"]),
    reason: { code: String(row["code"]), sentence: String(row["sentence"]) },
    generation: Number(row["generation"]),
    step: Number(row["step"]),
    severity: row["severity"] === "warning" ? "warning" : "normal",
  };
}
