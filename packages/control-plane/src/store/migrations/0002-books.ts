import { NO_LEDGER, NO_TALLIES } from "@shardwright/job/accounts";
import type { Queries } from "../sql-database.ts";

/**
 * Jobs of schema 1 have no books. One that is over gets empty ones; one that runs cannot be taken up: what it held so
 * far is not known, and its books would be wrong for ever.
 */
export async function openBooks(queries: Queries): Promise<void> {
  const unfinished = await queries.all("SELECT name FROM jobs WHERE is_final = 0 ORDER BY name");
  if (unfinished.length > 0) {
    const names = unfinished.map(({ name }) => String(name)).join(", ");
    throw new Error(
      `the journal was written by an earlier release and has unfinished jobs (${names}): let them end, or cancel them, with that release; or start with another --data-dir`,
    );
  }
  for (const { uid, status } of await queries.all("SELECT uid, status FROM jobs")) {
    const books = { ledger: NO_LEDGER, tallies: NO_TALLIES, measure: null };
    const whole = JSON.stringify({ ...books, ...JSON.parse(String(status)) });
    await queries.run("UPDATE jobs SET status = $2 WHERE uid = $1", String(uid), whole);
  }
}
