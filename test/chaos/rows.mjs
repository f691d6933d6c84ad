// Prints what the journal says a job consumed, one JSON array [step, lane, example ids] a line, in order.
// A process of its own: it runs on the Node of the product, which has SQLite.
import { DatabaseSync } from "node:sqlite";

const [path, uid] = process.argv.slice(2);
const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
const rows = database
  .prepare("SELECT step, lane, example_ids AS ids FROM lanes WHERE uid = ? ORDER BY step, lane")
  .all(uid);
for (const { step, lane, ids } of rows)
  process.stdout.write(`${JSON.stringify([step, lane, JSON.parse(ids)])}\n`);
