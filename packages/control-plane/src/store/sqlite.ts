import type { Journal } from "./journal.ts";
import { migrate } from "./migrations.ts";
import type { ObserveAppend } from "./sql-database.ts";
import { openSqlJournal } from "./sql-journal.ts";
import { openSqliteDatabase } from "./sqlite-database.ts";

export interface SqliteOptions {
  /** The journal's file; made when it is not there. */
  readonly path: string;
  /** Unix milliseconds. */
  readonly now: () => number;
  readonly observe?: ObserveAppend;
}

/** The journal of one machine in one SQLite file. One process at a time: the caller holds the directory's lock. */
export async function openSqliteJournal(options: SqliteOptions): Promise<Journal> {
  const database = openSqliteDatabase(options.path, options.observe ?? (() => undefined));
  try {
    await migrate(database, "TEXT");
    return await openSqlJournal(database, options.now);
  } catch (reason) {
    await database.close();
    throw reason;
  }
}
