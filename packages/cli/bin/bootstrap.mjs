// `npm run quickstart` and `npm test` start here, on a machine where nothing is installed yet: checks what must be
// there, installs and builds what is missing or stale, makes the Python environment, then hands over.
// Plain JavaScript without dependencies, for any Node >= 20. Every step may be interrupted and run again.
import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensurePython, findBasePython, findPython, INTERRUPTED, runChild, SetupProblem, withPath } from "./python-environment.mjs";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");
const BIN = join(ROOT, "node_modules", ".bin");
const NODE_MAJOR_MIN = 24;
const NODE_MAJOR_BOOTSTRAP = 20;

const stop = new AbortController();
const say = (line) => void process.stderr.write(`${line}\n`);

// Not once: a second Ctrl-C must not leave children behind that are ending.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stop.abort());

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (stop.signal.aborted) {
    say(INTERRUPTED);
    process.exitCode = 130;
  } else {
    if (!(error instanceof SetupProblem)) throw error;
    say(`error: ${error.message}`);
    if (error.next) say(`  next: ${error.next}`);
    process.exitCode = 1;
  }
}

async function main([target, ...rest]) {
  if (target !== "quickstart" && target !== "test") {
    say("usage: node packages/cli/bin/bootstrap.mjs quickstart|test [arguments]");
    return 2;
  }
  const env = { ...process.env };
  // 1. What must be there already. Everything that is missing is said at once.
  checkPrerequisites(env);
  // 2. Node packages, Node 24 among them.
  if (isStale()) await install(env);
  const node = ourNode();
  // 3. The command line and the services.
  await build(node, env);
  // 4. The trainer's Python.
  await ensurePython({ env, say, signal: stop.signal });
  // 5. Hand over.
  const script = target === "test" ? join(ROOT, "test", "support", "run-tests.mjs") : join(ROOT, "packages", "cli", "bin", "shardctl");
  return await handOver(node, target === "test" ? [script, ...rest] : [script, target, ...rest], withPath(env, BIN));
}

function checkPrerequisites(env) {
  const problems = [];
  const major = Number.parseInt(process.versions.node, 10);
  if (process.platform === "win32") {
    problems.push(["Windows is not supported", "use WSL 2 with Ubuntu or Debian"]);
  }
  if (!bringsNode() && major < NODE_MAJOR_MIN) {
    problems.push([
      `this is Node ${process.versions.node} on ${process.platform}-${process.arch}; Node >= ${NODE_MAJOR_MIN} is needed here`,
      `install Node ${NODE_MAJOR_MIN} (https://nodejs.org); only Linux x64 and arm64 with glibc get one from this repository`,
    ]);
  } else if (major < NODE_MAJOR_BOOTSTRAP) {
    problems.push([`this is Node ${process.versions.node}; Node >= ${NODE_MAJOR_BOOTSTRAP} is needed to start`, "install a newer Node (https://nodejs.org)"]);
  }
  if (isStale() && spawnSync(...npm(["--version"]), { env, stdio: "ignore" }).status !== 0) {
    problems.push(["npm was not found", "it comes with Node (Debian: apt-get install npm)"]);
  }
  try {
    if (findPython(env) === undefined) findBasePython(env);
  } catch (error) {
    if (!(error instanceof SetupProblem)) throw error;
    problems.push([error.message, error.next]);
  }
  if (problems.length === 0) return;
  const [last] = problems.slice(-1);
  const earlier = problems.slice(0, -1).map(([what, next]) => `${what}\n  next: ${next}\nerror: `);
  throw new SetupProblem(`${earlier.join("")}${last[0]}`, last[1]);
}

/** True where node_modules brings Node 24: the packages node-linux-* are built for glibc. */
function bringsNode() {
  if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) return false;
  return process.report.getReport().header.glibcVersionRuntime !== undefined;
}

function ourNode() {
  const own = join(BIN, "node");
  if (fs.existsSync(own)) return own;
  if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR_MIN) return process.execPath;
  throw new SetupProblem(`${own} does not exist`, "npm ci --include=optional");
}

/** Whether node_modules differs from package-lock.json; npm writes its own record last, so half an install is stale. */
function isStale() {
  const wanted = readLock(join(ROOT, "package-lock.json"));
  const there = readLock(join(ROOT, "node_modules", ".package-lock.json"));
  if (there === undefined) return true;
  return Object.entries(wanted?.packages ?? {}).some(([path, entry]) => {
    if (!path.startsWith("node_modules/") || entry.link) return false;
    const installed = there.packages[path];
    if (installed === undefined) return !entry.optional && !entry.devOptional;
    return installed.version !== entry.version || installed.integrity !== entry.integrity;
  });
}

function readLock(path) {
  try {
    return JSON.parse(fs.readFileSync(path, "utf8"));
  } catch {
    return undefined; // absent, or cut off
  }
}

async function install(env) {
  say("installing Node packages (npm ci): about 400 MB, 15 to 60 s");
  const [program, args] = npm(["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  await runChild(program, args, { env, say, signal: stop.signal, cwd: ROOT });
}

/** npm as it was called, else the one on PATH. */
function npm(args) {
  const own = process.env.npm_execpath;
  return own && /npm-cli\.[cm]?js$/.test(own) ? [process.execPath, [own, ...args]] : ["npm", args];
}

async function build(node, env) {
  const run = (script, args = []) => runChild(node, [join(ROOT, script), ...args], { env, say, signal: stop.signal, cwd: ROOT });
  if (!fs.existsSync(join(ROOT, "packages", "cli", "dist", "main.js"))) say("building (a few seconds)");
  await run("node_modules/typescript/bin/tsc", ["-b"]); // does nothing when nothing has changed
  await run("packages/cli/bundle.mjs", ["--if-stale"]);
}

/** Runs the real program with our terminal; on Ctrl-C the terminal tells it, other signals are passed on. */
function handOver(node, args, env) {
  if (stop.signal.aborted) throw new SetupProblem("interrupted");
  return new Promise((resolve, reject) => {
    const child = spawn(node, args, { env, cwd: process.cwd(), stdio: "inherit" });
    process.on("SIGINT", () => {
      if (!process.stdin.isTTY) child.kill("SIGINT");
    });
    process.on("SIGTERM", () => child.kill("SIGTERM"));
    child.on("error", reject);
    child.on("exit", (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)));
  });
}
