// What the quickstart's job gives with other seeds, through the product: submit, train, export, score.
// node test/bench/quickstart-seeds.ts SEED… prints one JSON object. Ten minutes a seed on a busy machine.
import { join } from "node:path";
import { EXIT } from "../../packages/cli/src/exit.ts";
import {
  comparisonTable,
  evaluate,
  ROWS_SCORED,
} from "../../packages/cli/src/quickstart/compare.ts";
import { jobText, prepare } from "../../packages/cli/src/quickstart/prepare.ts";
import { cacheDirectory, ensurePython, repositoryRoot } from "../../packages/cli/src/up/python.ts";
import { parseDocuments } from "../../packages/cli/src/yaml-documents.ts";
import { Embedded } from "../e2e/harness.ts";

interface Document {
  readonly metadata: object;
  readonly spec: { readonly train: object };
}

interface Job {
  readonly status: {
    readonly result: {
      readonly weightsSha256: string;
      readonly artifacts: readonly { readonly format: string; readonly location: string }[];
    };
  };
}

/** Waits of 150 s each: what the harness lets one command take. */
const WAITS_MAX = 10;

async function completion(shardwright: Embedded, name: string): Promise<void> {
  for (let wait = 0; wait < WAITS_MAX; wait++) {
    const { code } = await shardwright.ctl(
      "wait",
      `job/${name}`,
      "--for=condition=Complete",
      "--timeout",
      "150s",
    );
    if (code === EXIT.done) return;
    if (code !== EXIT.timeout) break;
  }
  const { stdout: events } = await shardwright.ctl("events", name);
  throw new Error(`job ${name} did not complete:\n${events}`);
}
const seeds = process.argv.slice(2).map(Number);
if (seeds.length === 0 || !seeds.every(Number.isSafeInteger)) {
  throw new Error("usage: node test/bench/quickstart-seeds.ts SEED… (whole numbers)");
}
const neverStopped = new AbortController().signal;
const say = (line: string): void => void process.stderr.write(`${line}\n`);

// 1. Model and rows, as the quickstart makes them.
const python = await ensurePython(say);
const example = join(repositoryRoot(), "deploy", "examples", "quickstart");
const prepared = await prepare(
  python,
  { example, dataDirectory: join(cacheDirectory(), "quickstart") },
  say,
  neverStopped,
);
const parsed = parseDocuments(jobText(example, prepared));
if (!parsed.ok) throw new Error("the quickstart's job file cannot be read");
const document = parsed.documents[0] as Document;

// 2. One job a seed, scored on the same held-out rows.
const shardwright = await Embedded.start();
const results: object[] = [];
try {
  for (const seed of seeds) {
    const name = `addresses-seed-${seed}`;
    const { spec } = document;
    const train = { ...spec.train, seed };
    await shardwright.apply({ ...document, metadata: { name }, spec: { ...spec, train } });
    await completion(shardwright, name);
    const { result } = (await shardwright.json<Job>("get", "job", name)).status;
    const adapter = result.artifacts.find(({ format }) => format === "peft")?.location;
    if (adapter === undefined) throw new Error(`job ${name} names no adapter`);
    const variant = { label: name, shots: 0, adapter: adapter.replace(/^file:\/\//, "") };
    const { scores } = await evaluate(python, prepared, variant, {
      signal: neverStopped,
      progress: () => undefined,
    });
    results.push({ seed, weightsSha256: result.weightsSha256, ...scores });
    for (const line of comparisonTable([{ label: name, scores }])) say(line);
  }
} finally {
  await shardwright.stop();
}
process.stdout.write(
  `${JSON.stringify({ bench: "quickstart_seeds", rowsScored: ROWS_SCORED, results }, null, 1)}\n`,
);
