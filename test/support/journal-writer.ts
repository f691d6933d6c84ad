// A process that creates jobs in a SQLite journal until it is killed, and prints each number once its job is
// acknowledged. Run: node journal-writer.ts PATH FIRST
import { openSqliteJournal } from "../../packages/control-plane/src/store/sqlite.ts";

const [, , path = "", first = "0"] = process.argv;
const journal = await openSqliteJournal({ path, now: Date.now });
// Several writers at once, so that kills fall into shared commits.
const WRITERS = 8;
let next = Number(first) + 1;
let acknowledged = new Set<number>();
let through = Number(first);

async function write(): Promise<never> {
  for (;;) {
    const number = next++;
    const id = String(number).padStart(9, "0");
    const told = { timeMs: 1, generation: 0, step: 0, severity: "normal" } as const;
    await journal.create(
      {
        uid: `uid-${id}`,
        tenant: "default",
        name: `job-${id}`,
        createdMs: number,
        finishedMs: null,
        // The journal does not read what it keeps; size is what matters to a torn write.
        document: { text: "x".repeat(3_000) } as never,
        state: { phase: "queued" } as never,
        status: {} as never,
      },
      [1, 2].map((i) => ({ ...told, reason: { code: "Told", sentence: `${id} ${i}` } })),
    );
    acknowledged.add(number);
    // Only gapless acknowledgements are printed: job N on stdout means that 1…N were acknowledged.
    while (acknowledged.has(through + 1)) through += 1;
    acknowledged = new Set([...acknowledged].filter((known) => known > through));
    process.stdout.write(`${through}\n`);
  }
}

await Promise.all(Array.from({ length: WRITERS }, write));
