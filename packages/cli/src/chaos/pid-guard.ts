import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { join } from "node:path";
import type { JobProcess } from "./victim.ts";

/** What the system says of a process. */
export interface ProcessFacts {
  readonly parentPid: number;
  /** Words of its command line. */
  readonly words: readonly string[];
}

const AGENT_MODULE = "shardwright_trainer.agent.main";
const RANK_MODULE = "shardwright_trainer.rank.main";

/**
 * Pure: why this process must not be touched; null when it is what it is said to be. An agent names its module, its
 * job and its member; a rank names its module and is a child of its agent. A pid that was handed to somebody else
 * meanwhile is neither.
 */
export function strangeness(wanted: JobProcess, facts: ProcessFacts | undefined): string | null {
  if (facts === undefined) return "is not running any more";
  const { words, parentPid } = facts;
  const module = wanted.role === "agent" ? AGENT_MODULE : RANK_MODULE;
  if (!follows(words, "-m", module)) return `is no ${wanted.role} of ours`;
  if (wanted.role === "rank") {
    return parentPid === wanted.agentPid ? null : "is a rank of another member";
  }
  if (!follows(words, "--job-uid", wanted.jobUid)) return "is an agent of another job";
  return follows(words, "--member", wanted.member) ? null : "is another member's agent";
}

function follows(words: readonly string[], flag: string, value: string): boolean {
  const at = words.indexOf(flag);
  return at >= 0 && words[at + 1] === value;
}

/** What the system says of this pid; undefined when there is no such process (a zombie does not count). */
export function factsOf(pid: number): ProcessFacts | undefined {
  return existsSync("/proc/self/stat") ? factsByProcFs(pid) : factsByPs(pid);
}

// Fields of /proc/PID/stat after the command in parentheses.
const STATE_FIELD = 0;
const PARENT_FIELD = 1;

function factsByProcFs(pid: number): ProcessFacts | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const isGone = fields[STATE_FIELD] === "Z" || fields[STATE_FIELD] === "X";
    if (isGone) return undefined;
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return { parentPid: Number(fields[PARENT_FIELD]), words };
  } catch {
    return undefined; // ended while we looked
  }
}

function factsByPs(pid: number): ProcessFacts | undefined {
  const asked = ["-ww", "-o", "state=,ppid=,command=", "-p", `${pid}`];
  const { stdout } = spawnSync("ps", asked, { encoding: "utf8" });
  const [state = "", parent = "", ...words] = (stdout ?? "").trim().split(/\s+/);
  return state === "" || state.startsWith("Z") ? undefined : { parentPid: Number(parent), words };
}

/**
 * True when this process is the `up` of the data directory: it holds the directory's lock open. Where the system does
 * not show open files, its command line has to do.
 */
export function isUpOf(pid: number, dataDir: string): boolean {
  const words = factsOf(pid)?.words ?? [];
  if (!words.includes("up") || !words.some((word) => /(^|[/\\])shardctl$/.test(word))) return false;
  const folder = `/proc/${pid}/fd`;
  if (!existsSync(folder)) return true;
  const lock = join(realpathSync(dataDir), "lock");
  return readdirSync(folder).some((file) => {
    try {
      return readlinkSync(join(folder, file)) === lock;
    } catch {
      return false; // closed while we looked
    }
  });
}
