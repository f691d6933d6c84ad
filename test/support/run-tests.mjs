// Every test of the repository, in stages; ends with a table of where the time went and one line
// "N passed, N failed, N skipped". `npm test` calls it after the set-up; arguments name stages to run, those with a slash
// the files of the stages that have some.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { INTERRUPTED } from "../../packages/cli/bin/python-environment.mjs";
import { findPython } from "./find-python.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const bin = (name) => join(root, "node_modules", ".bin", name);
const trainer = join(root, "packages", "trainer");
const python = findPython();
const quiet = { OMP_NUM_THREADS: "1", TOKENIZERS_PARALLELISM: "false" };

/** A stage passes or fails as one check unless its output ends with counts of its own. */
const STAGES = [
  { name: "build", command: [bin("turbo"), "run", "build", "--output-logs=errors-only"] },
  { name: "format and lint", command: [bin("biome"), "check", "."] },
  { name: "protos", command: [bin("buf"), "lint"] },
  { name: "generated code", command: [bin("node"), "packages/proto/generate.mjs", "--check"] },
  {
    name: "python lint",
    command: [python, "-m", "ruff", "check", "."],
    cwd: trainer,
    needs: "python",
  },
  {
    name: "python types",
    command: [python, "-m", "mypy", "shardwright_trainer"],
    cwd: trainer,
    needs: "python",
  },
  { name: "unit, contract, simulation, tidy", command: [bin("vitest"), "run"], counts: "vitest" },
  {
    name: "trainer",
    command: [python, "-m", "pytest", "tests"],
    cwd: trainer,
    needs: "python",
    counts: "pytest",
    env: quiet,
  },
  {
    name: "end to end",
    command: [bin("vitest"), "run", "--config", "test/e2e/vitest.config.ts"],
    files: "test/e2e/",
    needs: "python",
    counts: "vitest",
  },
  {
    name: "chaos",
    command: [bin("vitest"), "run", "--config", "test/e2e/vitest.config.ts"],
    files: "test/chaos/",
    needs: "python",
    counts: "vitest",
  },
];

/** Counts of a runner's closing line; undefined when it printed none. */
function countsIn(output, runner) {
  if (runner === "vitest") {
    const lines = [...output.matchAll(/^(\d+) passed, (\d+) failed, (\d+) skipped$/gm)];
    const last = lines.at(-1);
    return last && { passed: Number(last[1]), failed: Number(last[2]), skipped: Number(last[3]) };
  }
  const summary = output
    .split("\n")
    .filter((line) => /\d+ (passed|failed|errors?|skipped)\b.* in [\d.]+s/.test(line))
    .at(-1);
  if (!summary) return undefined;
  const count = (word) => Number(new RegExp(`(\\d+) ${word}`).exec(summary)?.[1] ?? 0);
  return {
    passed: count("passed"),
    failed: count("failed") + count("error"),
    skipped: count("skipped"),
  };
}

const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith("-"));
const files = wanted.filter((word) => word.includes("/"));
const stages = wanted.filter((word) => !word.includes("/"));

let running;
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    running?.kill(signal);
    process.exitCode = 130;
  });
}

function run(stage) {
  return new Promise((resolve) => {
    const env = {
      ...process.env,
      TURBO_TELEMETRY_DISABLED: "1",
      FORCE_COLOR: "0",
      NO_COLOR: "1",
      ...stage.env,
    };
    const chosen = files.length > 0 ? files : [stage.files];
    const [program, ...args] = [...stage.command, ...(stage.files ? chosen : [])];
    const child = spawn(program, args, {
      cwd: stage.cwd ?? root,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    running = child;
    let output = "";
    const keep = (to) => (chunk) => {
      output = (output + chunk).slice(-1_000_000);
      to.write(chunk);
    };
    child.stdout.on("data", keep(process.stdout));
    child.stderr.on("data", keep(process.stderr));
    child.on("error", (error) => resolve({ status: 127, output: String(error) }));
    child.on("close", (status) => resolve({ status: status ?? 1, output }));
  });
}

const total = { passed: 0, failed: 0, skipped: 0 };
const table = [];
for (const stage of STAGES) {
  if (stages.length > 0 && !stages.some((word) => stage.name.includes(word))) continue;
  if (process.exitCode === 130) break;
  process.stdout.write(`\n== ${stage.name}\n`);
  if (stage.needs === "python" && !python) {
    process.stdout.write("skipped: no Python environment; npm test makes one\n");
    total.skipped += 1;
    table.push([stage.name, "skipped", 0]);
    continue;
  }
  const started = Date.now();
  const { status, output } = await run(stage);
  const seconds = (Date.now() - started) / 1000;
  const counts = stage.counts ? countsIn(output, stage.counts) : undefined;
  const result =
    counts ??
    (status === 0 ? { passed: 1, failed: 0, skipped: 0 } : { passed: 0, failed: 1, skipped: 0 });
  // A runner that ends badly without a failed test (it crashed) is a failure too.
  if (status !== 0 && result.failed === 0) result.failed = 1;
  for (const key of Object.keys(total)) total[key] += result[key];
  table.push([stage.name, result.failed === 0 ? "ok" : "FAILED", seconds]);
}

if (process.exitCode === 130) {
  process.stderr.write(`${INTERRUPTED}\n`);
  process.exit();
}

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
process.stdout.write(`\nWhere the time went (Shardwright ${version})\n`);
for (const [name, result, seconds] of table) {
  process.stdout.write(
    `  ${name.padEnd(34)} ${result.padEnd(8)} ${seconds.toFixed(1).padStart(7)} s\n`,
  );
}
process.stdout.write(
  `\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`,
);
if (process.exitCode === undefined)
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
