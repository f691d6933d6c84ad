import { spawn } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readServerFile, type ServerFile } from "../context.ts";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { holdDirectory, isServed } from "../up/data-directory.ts";
import { ensurePython, repositoryRoot } from "../up/python.ts";
import { VERSION } from "../version.ts";

// Budget for closing every part of one machine.
const DRAIN_MS = 20_000;
// A detached one that is not ready by then is stuck; a start takes a second or two.
const START_MS_MAX = 60_000;
const POLL_MS = 50;
// Ranks beat every second.
const HANG_MS_MIN = 1_000;
const HANG_MS_MAX = 30_000;
// Less than a second is no time to hand anything over; who waits for hours wants `scale`.
const LEAVE_GRACE_MS_MIN = 1_000;
const LEAVE_GRACE_MS_MAX = 3_600_000;

/** Runs the control plane of a data directory, here or in the background. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { io } = call;
  const limits = { hangMs: hangMsOf(call), leaveGraceMs: leaveGraceMsOf(call) };
  // Before anything is held, in the foreground: it may take minutes, and it shows progress.
  const python = await ensurePython((line) => io.err(`${line}\n`));
  return call.flags.on("detach") ? await detach(call) : await serve(call, { python, limits });
}

interface Limits {
  readonly hangMs: number;
  /** null: the agent's own. */
  readonly leaveGraceMs: number | null;
}

async function serve(
  call: Invocation,
  { python, limits }: { readonly python: string; readonly limits: Limits },
): Promise<ExitCode> {
  const { io, settings, flags } = call;
  const { dataDir } = settings;
  // 1. The directory is ours, or we say whose it is.
  const held = holdDirectory(dataDir);
  try {
    // 2. Services, each on a loopback port of its own.
    const [{ compose }, { createLog }, { runService }] = await Promise.all([
      import("../up/compose.ts"),
      import("@shardwright/service/log"),
      import("@shardwright/service/run-service"),
    ]);
    const logFile = join(dataDir, "up.log");
    const log = createLog({
      service: "shardctl-up",
      version: VERSION,
      level: settings.verbosity >= 4 ? "debug" : "info",
      destination: appendTo(logFile),
    });
    const port = await choosePort(flags.count("port"));
    const composed = await compose({
      dataDir,
      python,
      token: held.token,
      port,
      metricsPort: flags.count("metrics-port") ?? 0,
      ...limits,
      log,
    });
    // 3. Ready: now other verbs find us.
    const { address, checkpointAddress, metricsAddress } = composed;
    const file = {
      address,
      checkpointAddress,
      metricsAddress,
      tokenFile: held.tokenFile,
      pid: process.pid,
      version: VERSION,
    };
    held.announce(file);
    io.out(readyLine(file, dataDir));
    if (io.stderrIsTty) io.err(`log: ${logFile}; Ctrl-C stops\n`);
    // 4. Until a signal; then everything closes in reverse.
    const late = await runService({
      parts: composed.parts,
      health: composed.health,
      log,
      endpointPauseMs: 0,
      drainTimeoutMs: DRAIN_MS,
    });
    if (late.length > 0) io.err(`warning: did not close in time: ${late.join(", ")}\n`);
    return EXIT.done;
  } finally {
    held.release();
  }
}

/** Whole lines, written at once: the last words of a process that dies are the ones that matter. */
function appendTo(path: string): { write(line: string): void } {
  const file = openSync(path, "a", 0o600);
  return { write: (line) => void writeSync(file, line) };
}

function readyLine({ address }: Pick<ServerFile, "address">, dataDir: string): string {
  return `ready: ${address} data-dir ${dataDir}\n`;
}

/** The named port when it is free; 0 lets the control plane take its last one. */
async function choosePort(named: number | undefined): Promise<number> {
  if (named === undefined) return 0;
  if (named > 65_535) throw new Refusal(EXIT.usage, `--port ${named}: expected 0 to 65535`);
  if (named === 0 || (await isFree(named))) return named;
  throw new Refusal(EXIT.error, `port ${named} of 127.0.0.1 is in use`, {
    next: "name another one, or leave --port away",
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ port, host: "127.0.0.1" }, () => probe.close(() => resolve(true)));
  });
}

/** Peers wait a minute for each other at least: until half of it the rank that hangs is named first. */
function hangMsOf({ flags }: Invocation): number {
  const ms = flags.duration("hang-after") ?? HANG_MS_MAX;
  if (ms >= HANG_MS_MIN && ms <= HANG_MS_MAX) return ms;
  throw new Refusal(EXIT.usage, `--hang-after ${ms / 1000}s is out of range`, {
    why: `expected ${HANG_MS_MIN / 1000}s to ${HANG_MS_MAX / 1000}s`,
  });
}

function leaveGraceMsOf({ flags }: Invocation): number | null {
  const ms = flags.duration("leave-grace");
  if (ms === undefined || (ms >= LEAVE_GRACE_MS_MIN && ms <= LEAVE_GRACE_MS_MAX)) return ms ?? null;
  throw new Refusal(EXIT.usage, `--leave-grace ${ms / 1000}s is out of range`, {
    why: "expected 1s to 1h",
  });
}

/** Starts `up` in the background and returns when it is ready; its words go to up.log. */
async function detach(call: Invocation): Promise<ExitCode> {
  const { io, settings, flags } = call;
  const { dataDir } = settings;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  if (isServed(dataDir)) holdDirectory(dataDir); // throws with who serves it
  const logFile = join(dataDir, "up.log");
  const log = openSync(logFile, "a", 0o600);
  const from = fstatSync(log).size;
  const entry = join(repositoryRoot(), "packages", "cli", "bin", "shardctl");
  const args = [entry, "up", "--data-dir", dataDir];
  for (const name of ["port", "metrics-port", "hang-after", "leave-grace"]) {
    const value = flags.text(name);
    if (value !== undefined) args.push(`--${name}`, value);
  }
  const child = spawn(process.execPath, args, {
    detached: true,
    stdio: ["ignore", log, log],
    cwd: dataDir,
  });
  closeSync(log);
  let ended: string | null = null;
  child.once("error", (error) => {
    ended = error.message;
  });
  child.once("exit", (code, signal) => {
    ended = `it ended with ${signal ?? code}`;
  });
  for (let waited = 0; waited < START_MS_MAX && ended === null; waited += POLL_MS) {
    const server = readServerFile(dataDir);
    if (server?.pid === child.pid && server !== null) {
      child.unref();
      io.out(readyLine(server, dataDir));
      return EXIT.done;
    }
    await sleep(POLL_MS);
  }
  throw new Refusal(EXIT.error, "the control plane did not start", {
    why: [ended ?? `not ready after ${START_MS_MAX / 1000} s`, ...lastLines(logFile, from)],
    next: `look into ${logFile}`,
  });
}

// Of a start that failed: the end of what it said.
const LINES_QUOTED = 6;

/** What the process itself said of its failure: no JSON records, no advice. */
function lastLines(path: string, from: number): readonly string[] {
  const said = readFileSync(path).subarray(from).toString("utf8").split("\n");
  const lines = said.filter((line) => line.trim() !== "" && !/^(\{|\s*next:)/.test(line));
  return lines.slice(-LINES_QUOTED).map((line) => line.replace(/^\s*(error|why): /, ""));
}
