import { type ChildProcess, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "@shardwright/service/clock";
import {
  findByArguments,
  identify,
  isRunning,
  type ProcessIdentity,
  signalProcess,
} from "./process-table.ts";

/** How a process of ours is started, and how it is known again after we were killed ourselves. */
export interface LocalProcessPlan {
  /** Where its identity is kept. */
  readonly recordPath: string;
  readonly command: string;
  readonly args: readonly string[];
  /** A run of neighbouring `args` that no other process has: it is found by them when its record is missing. */
  readonly marks: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Standard output and error are appended here. */
  readonly logPath: string;
  /** Handed over on file descriptor 3, never in argv or environment. */
  readonly secret: string | null;
}

/** How a process ended; both null when it was not our child and only its absence is known. */
export interface ProcessEnd {
  readonly status: number | null;
  readonly signal: string | null;
}

export interface LocalProcess {
  readonly identity: ProcessIdentity;
  /** Resolves once, when the process is gone. */
  readonly ended: Promise<ProcessEnd>;
}

// An adopted process is not our child: nobody tells us of its end, so we look.
const ADOPTED_POLL_MS = 1_000;
/** From SIGTERM to SIGKILL: time to finish a step and hand over. */
export const STOP_GRACE_MS = 15_000;
const STOP_POLL_MS = 50;

/** The process of this plan if it is running already, by its record or else by its arguments. */
export function findProcess(plan: LocalProcessPlan, clock: Clock): LocalProcess | undefined {
  const recorded = readRecord(plan.recordPath);
  const identity =
    recorded !== undefined && isRunning(recorded) ? recorded : findByArguments(plan.marks)[0];
  if (identity === undefined) return undefined;
  writeRecord(plan.recordPath, identity);
  return { identity, ended: watchAdopted(identity, clock) };
}

/** Starts the process, detached: it must outlive a kill of ours. Rejects when it cannot be started. */
export async function startProcess(plan: LocalProcessPlan): Promise<LocalProcess> {
  for (const path of [plan.recordPath, plan.logPath]) mkdirSync(dirname(path), { recursive: true });
  const log = openSync(plan.logPath, "a", 0o600);
  const secret = plan.secret === null ? null : secretFile(`${plan.recordPath}.secret`, plan.secret);
  let child: ChildProcess;
  try {
    child = spawn(plan.command, plan.args, {
      detached: true,
      stdio: ["ignore", log, log, secret ?? "ignore"],
      env: plan.environment,
    });
  } finally {
    closeSync(log);
    if (secret !== null) closeSync(secret);
  }
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once("exit", (status, signal) => resolve({ status, signal }));
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) =>
      reject(new Error(`cannot start ${plan.command}: ${cause.message}`, { cause })),
    );
  });
  child.unref();
  const pid = child.pid ?? 0;
  // A process that ended at once has no identity any more; its end is already on its way.
  const identity = identify(pid) ?? { pid, started: "gone" };
  writeRecord(plan.recordPath, identity);
  return { identity, ended };
}

/** SIGTERM, then SIGKILL after the grace; only ever to exactly this process. Resolves when it is gone. */
export async function stopProcess(
  { identity }: LocalProcess,
  clock: Clock,
  graceMs: number = STOP_GRACE_MS,
): Promise<void> {
  const until = clock.now() + graceMs;
  if (!signalProcess(identity, "SIGTERM")) return;
  while (isRunning(identity) && clock.now() < until) await clock.sleep(STOP_POLL_MS);
  while (signalProcess(identity, "SIGKILL")) await clock.sleep(STOP_POLL_MS);
}

/** The identity that was recorded; undefined when there is none or it was cut short. */
export function readRecord(path: string): ProcessIdentity | undefined {
  if (!existsSync(path)) return undefined;
  try {
    const { pid, started } = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    const isValid = Number.isSafeInteger(pid) && typeof started === "string";
    return isValid ? { pid: Number(pid), started: started as string } : undefined;
  } catch {
    return undefined;
  }
}

/** Forgets the record of a process that is gone. */
export function forgetRecord(path: string): void {
  rmSync(path, { force: true });
}

function writeRecord(path: string, identity: ProcessIdentity): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.tmp`, `${JSON.stringify(identity)}\n`);
  renameSync(`${path}.tmp`, path);
}

/**
 * A descriptor from which the secret can be read once it is inherited. It is in a file that no path leads to before
 * anything is written into it: a pipe would have to be filled after the start, and whoever is killed in between leaves
 * a process behind that runs and knows nothing.
 */
function secretFile(path: string, secret: string): number {
  rmSync(path, { force: true }); // of a start that was cut short; it is empty
  const file = openSync(path, "wx+", 0o600);
  rmSync(path);
  writeSync(file, `${secret}\n`, 0); // by position: the reader begins at the beginning
  return file;
}

async function watchAdopted(identity: ProcessIdentity, clock: Clock): Promise<ProcessEnd> {
  while (isRunning(identity)) await clock.sleep(ADOPTED_POLL_MS);
  return { status: null, signal: null };
}
