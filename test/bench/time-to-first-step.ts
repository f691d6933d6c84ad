// Seconds from `shardctl apply` to the first finished optimizer step, and what they went into.
// node test/bench/time-to-first-step.ts [MODEL_DIRECTORY CHAT_ROWS] prints one JSON object.
import { Embedded, fixtures, tinyJob } from "../e2e/harness.ts";

const ROUNDS = 3;

interface Listed {
  readonly items: readonly { time: string; reason: { code: string } }[];
}

const [model, rows] = process.argv.slice(2);
const folder = await fixtures();
const shardwright = await Embedded.start();
const rounds: { seconds: number; events: { code: string; atSeconds: number }[] }[] = [];
try {
  for (let round = 0; round < ROUNDS; round++) {
    const name = `first-step-${round}`;
    const job = tinyJob(folder, { name, steps: 4 }) as unknown as {
      spec: { model: unknown; data: unknown };
    };
    if (model !== undefined && rows !== undefined) {
      job.spec.model = { source: `file://${model}` };
      job.spec.data = { train: { source: `file://${rows}` } };
    }
    const started = Date.now();
    await shardwright.apply(job);
    await shardwright.reach(name, 1);
    const seconds = (Date.now() - started) / 1000;
    const events = await shardwright.json<Listed>("events", name);
    rounds.push({
      seconds,
      events: events.items.map(({ time, reason }) => ({
        code: reason.code,
        atSeconds: (Date.parse(time) - started) / 1000,
      })),
    });
    await shardwright.complete(name);
  }
} finally {
  await shardwright.stop();
}
const sorted = rounds.map(({ seconds }) => seconds).sort((a, b) => a - b);
process.stdout.write(
  `${JSON.stringify({ bench: "time_to_first_step", median: sorted[Math.floor(ROUNDS / 2)], rounds }, null, 1)}\n`,
);
