import pg from "pg";
import {
  assertStorable,
  GroupCommit,
  type ObserveAppend,
  type Row,
  type SqlDatabase,
  type Value,
  type WriteConnection,
} from "./sql-database.ts";

// Readers are few: lists and watches of one control plane.
const READERS_MAX = 4;
// A server that does not answer must become an error, not a silence.
const CONNECT_TIMEOUT_MS = 10_000;
const STATEMENT_TIMEOUT_MS = 30_000;
/** All writers of a database, whichever process they are in, take turns by this lock ("swcp" in ASCII). */
export const WRITE_LOCK_KEY = 0x73776370;

/**
 * A PostgreSQL database. Every transaction of a writer holds one advisory lock, so that writes of several
 * processes are serial and revisions are committed in their order; reads see what is committed.
 */
export async function openPostgresDatabase(
  url: string,
  observe: ObserveAppend,
): Promise<SqlDatabase> {
  const settings = {
    connectionString: url,
    application_name: "shardwright-control-plane",
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    types: { getTypeParser: parserOf },
  };
  const readers = new pg.Pool({ ...settings, max: READERS_MAX });
  // An idle connection may break; the pool replaces it, and a query in flight has its own error.
  readers.on("error", () => undefined);
  const writer = new PostgresWriter(settings);
  const group = new GroupCommit(writer, observe);
  await readers.query("SELECT 1"); // an unreachable server is found at the start
  const committed = queriesOn((sql, values) => readers.query({ text: sql, values: [...values] }));
  return {
    committed,
    write: (work) => group.write(work),
    close: async () => {
      await group.settled();
      await writer.close();
      await readers.end();
    },
  };
}

type Ask = (
  sql: string,
  values: readonly Value[],
) => Promise<pg.QueryResult<Record<string, Value>>>;

function queriesOn(ask: Ask) {
  return {
    run: async (sql: string, ...values: readonly Value[]): Promise<number> =>
      (await ask(sql, values.map(assertStorable))).rowCount ?? 0,
    get: async (sql: string, ...values: readonly Value[]): Promise<Row | undefined> =>
      (await ask(sql, values.map(assertStorable))).rows[0],
    all: async (sql: string, ...values: readonly Value[]): Promise<readonly Row[]> =>
      (await ask(sql, values.map(assertStorable))).rows,
  };
}

/** The one connection that writes; made again after it broke, at the next transaction. */
class PostgresWriter implements WriteConnection {
  readonly run: WriteConnection["run"];
  readonly get: WriteConnection["get"];
  readonly all: WriteConnection["all"];
  private readonly settings: pg.ClientConfig;
  private client: pg.Client | undefined;

  constructor(settings: pg.ClientConfig) {
    this.settings = settings;
    const { run, get, all } = queriesOn((sql, values) =>
      this.connected().query({ text: sql, values: [...values] }),
    );
    this.run = run;
    this.get = get;
    this.all = all;
  }

  async begin(): Promise<void> {
    if (this.client === undefined) {
      const client = new pg.Client(this.settings);
      client.on("error", () => this.forget(client));
      client.on("end", () => this.forget(client));
      await client.connect();
      this.client = client;
    }
    await this.client.query("BEGIN");
    await this.client.query("SELECT pg_advisory_xact_lock($1)", [WRITE_LOCK_KEY]);
  }

  async execute(sql: string): Promise<void> {
    await this.connected().query(sql);
  }

  async close(): Promise<void> {
    await this.client?.end();
  }

  private connected(): pg.Client {
    if (this.client === undefined) throw new Error("the connection to PostgreSQL is lost");
    return this.client;
  }

  private forget(client: pg.Client): void {
    if (this.client === client) this.client = undefined;
  }
}

/** bigint columns and counts arrive as text; ours are safe integers, and anything else must be noticed. */
function parserOf(oid: number): (text: string) => unknown {
  if (oid === pg.types.builtins.INT8) return safeInteger;
  if (oid === pg.types.builtins.INT4) return safeInteger;
  if (oid === pg.types.builtins.FLOAT8) return Number;
  return (text) => text;
}

function safeInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`${text} is above 2^53`);
  return value;
}
