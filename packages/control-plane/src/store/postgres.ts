import type { Journal } from "./journal.ts";
import { migrate } from "./migrations.ts";
import { openPostgresDatabase } from "./postgres-database.ts";
import type { ObserveAppend } from "./sql-database.ts";
import { openSqlJournal } from "./sql-journal.ts";

export interface PostgresOptions {
  /** postgres://user@host:port/database; the tables are made in the connection's default schema. */
  readonly url: string;
  /** Unix milliseconds. */
  readonly now: () => number;
  readonly observe?: ObserveAppend;
}

/**
 * The journal where several control-plane replicas run. Writes of all processes are serial; `subscribe` hears of
 * this process's writes only, because only the leader writes and serves watches.
 */
export async function openPostgresJournal(options: PostgresOptions): Promise<Journal> {
  const database = await openPostgresDatabase(options.url, options.observe ?? (() => undefined));
  try {
    await migrate(database, 'TEXT COLLATE "C"');
    return await openSqlJournal(database, options.now);
  } catch (reason) {
    await database.close();
    throw reason;
  }
}
