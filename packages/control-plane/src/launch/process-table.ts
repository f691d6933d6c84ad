import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";

/**
 * One process for ever: a pid alone may be handed to somebody else. `started` is what the system says of its
 * start; opaque, only compared.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly started: string;
}

/** The identity of a running process; undefined when there is none (a zombie does not count). */
export function identify(pid: number): ProcessIdentity | undefined {
  const started = hasProcFs() ? startedByProcFs(pid) : startedByPs(pid);
  return started === undefined ? undefined : { pid, started };
}

/** True while exactly this process, and not a later one with its pid, is running. */
export function isRunning(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.started === identity.started;
}

/** Sends a signal to exactly this process. False when it is gone. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isRunning(identity)) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch {
    return false; // it went away in between
  }
}

/** Running processes whose command line contains these arguments, next to one another and in this order. */
export function findByArguments(wanted: readonly string[]): readonly ProcessIdentity[] {
  if (!hasProcFs()) return [];
  const found: ProcessIdentity[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const line = argumentsOf(Number(entry));
    if (!line.some((_, at) => wanted.every((word, i) => line[at + i] === word))) continue;
    const identity = identify(Number(entry));
    if (identity !== undefined) found.push(identity);
  }
  return found;
}

function hasProcFs(): boolean {
  return existsSync("/proc/self/stat");
}

function argumentsOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return []; // ended while we looked
  }
}

// Fields of /proc/PID/stat after the command in parentheses: state is the first, starttime the twentieth.
const STATE_FIELD = 0;
const START_FIELD = 19;

function startedByProcFs(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const isGone = fields[STATE_FIELD] === "Z" || fields[STATE_FIELD] === "X";
    return isGone ? undefined : `${bootId()}/${fields[START_FIELD]}`;
  } catch {
    return undefined;
  }
}

/** The start time counts from boot: after a reboot another process may have the same pid and ticks. */
function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

function startedByPs(pid: number): string | undefined {
  const { status, stdout } = spawnSync("ps", ["-o", "state=,lstart=", "-p", String(pid)], {
    encoding: "utf8",
  });
  const line = stdout?.trim() ?? "";
  return status !== 0 || line === "" || line.startsWith("Z") ? undefined : line.slice(2).trim();
}
