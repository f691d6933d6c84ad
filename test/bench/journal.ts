// Appends per second of the journal on SQLite (WAL, synchronous=FULL): one writer that waits for each append,
// and many at once that share commits. Prints JSON. Run: npx node test/bench/journal.ts [seconds] [directory]
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import type { Journal } from "../../packages/control-plane/src/store/journal.ts";
import { openSqliteJournal } from "../../packages/control-plane/src/store/sqlite.ts";

const SECONDS = Number(process.argv[2] ?? "3");
const FOLDER = process.argv[3] ?? tmpdir();
const UID = "01J00000000000000000000000";

interface Figure {
  readonly what: string;
  readonly writers: number;
  readonly appendsPerSecond: number;
  readonly rowsPerSecond: number;
  readonly millisecondsP50: number;
  readonly millisecondsP99: number;
}

/** Every append is `rows` lanes of one step of a job; durable when it is counted. */
async function measure(what: string, writers: number, rows: number): Promise<Figure> {
  const directory = mkdtempSync(join(FOLDER, "shardwright-bench-"));
  const waits: number[] = [];
  const journal = await openSqliteJournal({
    path: join(directory, "control-plane.sqlite"),
    now: Date.now,
    observe: (seconds) => waits.push(seconds),
  });
  await aJob(journal);
  waits.length = 0;
  const begun = performance.now();
  const until = begun + SECONDS * 1000;
  let step = 0;
  let appends = 0;
  const write = async (): Promise<void> => {
    while (performance.now() < until) {
      step += 1;
      const mine = step;
      const lanes = Array.from({ length: rows }, (_, lane) => ({
        step: mine,
        lane,
        lossSum: 1.25,
        exampleIds: [mine * rows + lane],
        trainedTokens: 100,
        processedTokens: 200,
      }));
      await journal.recordLanes(UID, lanes, rows);
      appends += 1;
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
  const seconds = (performance.now() - begun) / 1000;
  await journal.close();
  rmSync(directory, { recursive: true });
  waits.sort((a, b) => a - b);
  const quantile = (q: number): number =>
    round((waits[Math.floor(q * (waits.length - 1))] ?? 0) * 1000);
  return {
    what,
    writers,
    appendsPerSecond: Math.round(appends / seconds),
    rowsPerSecond: Math.round((appends * rows) / seconds),
    millisecondsP50: quantile(0.5),
    millisecondsP99: quantile(0.99),
  };
}

async function aJob(journal: Journal): Promise<void> {
  const job = { uid: UID, tenant: "default", name: "bench", createdMs: 1, finishedMs: null };
  const opaque = { phase: "queued" } as never; // the journal does not read what it keeps
  await journal.create({ ...job, document: opaque, state: opaque, status: opaque }, []);
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

const figures = [
  await measure("one row, one writer", 1, 1),
  await measure("one row, group commit", 100, 1),
  await measure("eight rows, group commit", 100, 8),
];
const result = {
  bench: "journal",
  command: `node test/bench/journal.ts ${SECONDS}`,
  date: new Date().toISOString(),
  node: process.version,
  sqlite: process.versions["sqlite"] ?? null,
  machine: { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism() },
  secondsEach: SECONDS,
  figures,
};
process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
