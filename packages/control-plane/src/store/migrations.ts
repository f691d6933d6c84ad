import { JOURNAL_TABLES } from "./migrations/0001-journal.ts";
import { openBooks } from "./migrations/0002-books.ts";
import { SETTLED_STATE } from "./migrations/0003-settled-state.ts";
import type { Queries, SqlDatabase } from "./sql-database.ts";

/** In the order they are applied; one that was released never changes. */
const MIGRATIONS: readonly (readonly Statement[])[] = [JOURNAL_TABLES, [openBooks], SETTLED_STATE];

/** SQL, or a change that reads what it writes. */
type Statement = string | ((queries: Queries) => Promise<void>);

/** Column type of keys: sorts by bytes, so that pages have the same order everywhere. */
export type KeyText = "TEXT" | 'TEXT COLLATE "C"';

/**
 * Brings the database to the newest schema. All or nothing, and safe when several processes start together.
 * Refuses a database that a newer release has written.
 */
export async function migrate(database: SqlDatabase, keyText: KeyText): Promise<void> {
  await database.write(async (queries) => {
    await queries.run("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY)");
    const applied = await highest(queries);
    if (applied > MIGRATIONS.length) {
      throw new Error(
        `the journal has schema ${applied}, this release knows up to ${MIGRATIONS.length}; use the newer release`,
      );
    }
    for (let number = applied + 1; number <= MIGRATIONS.length; number++) {
      for (const statement of MIGRATIONS[number - 1] ?? []) {
        if (typeof statement === "string")
          await queries.run(statement.replaceAll("KEY_TEXT", keyText));
        else await statement(queries);
      }
      await queries.run("INSERT INTO migrations (number) VALUES ($1)", number);
    }
  });
}

async function highest(queries: Queries): Promise<number> {
  const row = await queries.get("SELECT max(number) AS number FROM migrations");
  return Number(row?.["number"] ?? 0);
}
