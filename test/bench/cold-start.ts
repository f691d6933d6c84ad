// What shardctl costs before it does anything: CPU and wall time of its cheap verbs, beside an empty script of the
// same Node in the same run. Prints one JSON object.
//   node test/bench/cold-start.ts [runs]
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { JobServiceService } from "../../packages/proto/dist/index.js";
import { bearerAuth } from "../../packages/service/dist/auth.js";
import { startRpcServer, unary } from "../../packages/service/dist/rpc-server.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SHARDCTL = join(ROOT, "packages/cli/bin/shardctl");
const TOKEN = "sk-sw-cold-start-benchmark";
const RUNS = Number(process.argv[2] ?? 15);

interface Cost {
  readonly cpuMs: number;
  readonly wallMs: number;
  readonly rssMiB: number;
}

/** A control plane that knows no jobs, in a data directory as `up` leaves it. */
async function serveNothing(): Promise<{ readonly dataDir: string; close(): Promise<void> }> {
  const listJobs = unary(async () => ({ jobs: [], nextPageToken: "", revision: 0n }));
  const others = Object.fromEntries(Object.keys(JobServiceService).map((name) => [name, listJobs]));
  const server = await startRpcServer({
    listen: "127.0.0.1:0",
    services: [
      { definition: JobServiceService, implementation: others, authenticate: bearerAuth(TOKEN) },
    ],
    drain: new AbortController(),
  });
  const dataDir = mkdtempSync(join(tmpdir(), "shardctl-bench-"));
  const tokenFile = join(dataDir, "token");
  writeFileSync(tokenFile, TOKEN);
  const file = {
    address: server.address,
    checkpointAddress: server.address,
    tokenFile,
    pid: process.pid,
  };
  writeFileSync(join(dataDir, "server.json"), JSON.stringify(file));
  return { dataDir, close: () => server.close() };
}

/** One run; times as the kernel counts them for that process (bash's `time`). */
function measure(args: readonly string[]): Promise<Cost> {
  const script = `TIMEFORMAT='%R %U %S'; time "$@" >/dev/null 2>&1`;
  return new Promise((resolve, reject) => {
    const child = spawn("bash", ["-c", script, "bench", process.execPath, ...args], { cwd: ROOT });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString("utf8");
    });
    child.on("close", () => {
      const [wall = Number.NaN, user = 0, system = 0] = said.trim().split(" ").map(Number);
      if (Number.isNaN(wall)) reject(new Error(said));
      else resolve({ wallMs: wall * 1000, cpuMs: (user + system) * 1000, rssMiB: 0 });
    });
  });
}

/** Largest resident memory, asked of the process itself as it ends. */
function rssMiB(args: readonly string[]): Promise<number> {
  const hook =
    "process.on('exit', () => process.stderr.write('RSS ' + process.resourceUsage().maxRSS))";
  const preload = ["--import", `data:text/javascript,${encodeURIComponent(hook)}`];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...preload, ...args], { cwd: ROOT });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString("utf8");
    });
    child.on("close", () => {
      resolve(Math.round(Number(/RSS (\d+)/.exec(said)?.[1] ?? Number.NaN) / 1024));
    });
  });
}

const middle = (values: readonly number[]): number =>
  Math.round([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN);

const world = await serveNothing();
const empty = join(world.dataDir, "empty.mjs");
writeFileSync(empty, "");
const cases: Readonly<Record<string, readonly string[]>> = {
  "empty script": [empty],
  version: [SHARDCTL, "version"],
  "--help": [SHARDCTL, "--help"],
  "get jobs": [SHARDCTL, "get", "jobs", "--data-dir", world.dataDir],
};
const results: Record<string, Cost> = {};
// Interleaved, so that a busy moment hits every case; the first round warms the compile cache.
const costs = new Map<string, Cost[]>(Object.keys(cases).map((name) => [name, []]));
for (let i = 0; i <= RUNS; i++) {
  for (const [name, args] of Object.entries(cases)) {
    const cost = await measure(args);
    if (i > 0) costs.get(name)?.push(cost);
  }
}
for (const [name, all] of costs) {
  results[name] = {
    cpuMs: middle(all.map(({ cpuMs }) => cpuMs)),
    wallMs: middle(all.map(({ wallMs }) => wallMs)),
    rssMiB: await rssMiB(cases[name] ?? []),
  };
}
await world.close();
const machine = { cpus: cpus().length, model: cpus()[0]?.model ?? "", node: process.versions.node };
process.stdout.write(
  `${JSON.stringify({ bench: "cold-start", runs: RUNS, machine, median: results }, undefined, 2)}\n`,
);
process.exit(0);
