import { DatabaseSync, type StatementSync } from "node:sqlite";
import {
  assertStorable,
  GroupCommit,
  type ObserveAppend,
  type Row,
  type SqlDatabase,
  type Value,
  type WriteConnection,
} from "./sql-database.ts";

// Another process (a backup, the sqlite shell) may hold the lock for a moment.
const BUSY_TIMEOUT_MS = 5_000;

/**
 * One SQLite file, WAL with synchronous=FULL: what is acknowledged survives a kill and a power cut. Reads have
 * a connection of their own, so that they never see a transaction that is still open.
 */
export function openSqliteDatabase(path: string, observe: ObserveAppend): SqlDatabase {
  const writer = new SqliteConnection(path, false);
  const reader = new SqliteConnection(path, true);
  const group = new GroupCommit(writer, observe);
  return {
    committed: reader,
    write: (work) => group.write(work),
    close: async () => {
      await group.settled();
      reader.close();
      writer.close(); // last: it checkpoints and removes the WAL
    },
  };
}

class SqliteConnection implements WriteConnection {
  private readonly database: DatabaseSync;
  private readonly statements = new Map<string, StatementSync>();

  constructor(path: string, readOnly: boolean) {
    this.database = new DatabaseSync(path, { readOnly, timeout: BUSY_TIMEOUT_MS });
    if (readOnly) return;
    this.database.exec("PRAGMA journal_mode = WAL");
    this.database.exec("PRAGMA synchronous = FULL");
  }

  async begin(): Promise<void> {
    this.database.exec("BEGIN IMMEDIATE");
  }

  async execute(sql: string): Promise<void> {
    this.database.exec(sql);
  }

  async run(sql: string, ...values: readonly Value[]): Promise<number> {
    return Number(this.prepare(sql).run(...values.map(assertStorable)).changes);
  }

  async get(sql: string, ...values: readonly Value[]): Promise<Row | undefined> {
    return this.prepare(sql).get(...values.map(assertStorable)) as Row | undefined;
  }

  async all(sql: string, ...values: readonly Value[]): Promise<readonly Row[]> {
    return this.prepare(sql).all(...values.map(assertStorable)) as unknown as readonly Row[];
  }

  close(): void {
    if (this.database.isOpen) this.database.close();
  }

  /** Statements are cached: preparing costs more than running. */
  private prepare(sql: string): StatementSync {
    const known = this.statements.get(sql);
    if (known !== undefined) return known;
    // `$1` is a named parameter to SQLite; `?1` is the same by position.
    const made = this.database.prepare(sql.replace(/\$(\d+)/g, "?$1"));
    this.statements.set(sql, made);
    return made;
  }
}
