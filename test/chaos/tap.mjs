// Reads the journal of a data directory while others write it, and prints what changes, one JSON object a line.
// A process of its own: it runs on the Node of the product, which has SQLite, and outlives the control plane.
import { DatabaseSync } from "node:sqlite";

const POLL_MS = 5;
const database = new DatabaseSync(process.argv[2], { readOnly: true, timeout: 5_000 });
const jobs = database.prepare(
  "SELECT name, uid, revision, complete_step AS step, is_final AS final FROM jobs WHERE name = ?",
);
const names = database.prepare("SELECT name FROM jobs WHERE sequence > ?");
const states = database.prepare(
  `SELECT json_extract(state, '$.phase') AS phase,
    json_extract(state, '$.live.prepared.number') AS prepared,
    json_array_length(state, '$.live.prepared.ready') AS ready,
    json_extract(settled, '$.live.committed.number') AS committed,
    json_extract(settled, '$.live.committed.mode') AS mode,
    json_extract(state, '$.live.fault.cause') AS fault,
    (SELECT count(*) FROM json_each(state, '$.effects')
     WHERE json_extract(value, '$.kind') = 'reportPrepared') AS deciding,
    json_extract(settled, '$.live.committed.seats') AS seats,
    json_extract(state, '$.live.save.begun.key.saveId') AS save
   FROM jobs WHERE uid = ?`,
);
const events = database.prepare(
  `SELECT sequence, job_name AS job, time_ms AS timeMs, code, sentence, step, generation FROM events
   WHERE sequence > ? ORDER BY sequence`,
);
const known = new Map();
const wanted = new Set();
let last = 0;

function look() {
  const from = last;
  for (const event of events.all(from)) {
    last = event.sequence;
    wanted.add(event.job);
    say({ kind: "event", ...event });
  }
  for (const { name } of names.all(from)) wanted.add(name);
  for (const name of wanted) {
    const job = jobs.get(name);
    if (job === undefined || isKnown(job)) continue;
    known.set(name, job);
    const { seats, ...state } = states.get(job.uid);
    const pids = JSON.parse(seats ?? "[]").map(({ pid }) => pid);
    say({ kind: "job", ...job, ...state, pids });
    if (job.final) wanted.delete(name);
  }
}

function isKnown({ name, revision, step }) {
  const before = known.get(name);
  return before?.revision === revision && before.step === step;
}

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

setInterval(look, POLL_MS);
// Whoever asked may be killed: this process ends with it.
process.stdin.resume().on("end", () => process.exit());
