import { readdirSync, readFileSync } from "node:fs";
import type { Target } from "./schedule.ts";

/** A process of a job, as /proc shows it. */
export interface Found {
  readonly pid: number;
  readonly role: "agent" | "rank" | "other";
  readonly member: string;
  readonly localRank: number;
}

/**
 * Every process that works for a job, also one whose agent is gone: agents by their arguments, what they started
 * by the environment they gave it.
 */
export function processesOf(uid: string): readonly Found[] {
  const found: Found[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry) || isZombie(entry)) continue;
    const line = read(`/proc/${entry}/cmdline`).split("\0");
    const pid = Number(entry);
    if (after(line, "--job-uid") === uid) {
      found.push({ pid, role: "agent", member: after(line, "--member"), localRank: -1 });
      continue;
    }
    const mark = `SHARDWRIGHT_STAGED_PREFIX=shardwright-${uid}-`;
    const variable = read(`/proc/${entry}/environ`)
      .split("\0")
      .find((one) => one.startsWith(mark));
    if (variable === undefined) continue;
    const isRank = line.includes("shardwright_trainer.rank.main");
    const localRank = isRank ? Number(after(line, "--local-rank")) : -1;
    found.push({
      pid,
      role: isRank ? "rank" : "other",
      member: variable.slice(mark.length),
      localRank,
    });
  }
  return found.sort((a, b) => order(a).localeCompare(order(b)));
}

/** Processes with the data directory in their arguments. */
export function processesWith(text: string): readonly number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry) && !isZombie(entry))
    .filter(
      (entry) => Number(entry) !== process.pid && read(`/proc/${entry}/cmdline`).includes(text),
    )
    .map(Number);
}

/** The processes that a target stands for, right now; none when there is none yet. */
export function victimsOf(
  target: Target,
  uid: string,
  storePid: number | undefined,
): readonly Found[] {
  const all = processesOf(uid);
  const of = (role: Found["role"]): readonly Found[] => all.filter((one) => one.role === role);
  switch (target.kind) {
    case "rank":
      return pick(of("rank"), target.index);
    case "agent":
      return pick(of("agent"), target.index);
    case "member": {
      const [agent] = pick(of("agent"), target.index);
      return all.filter(({ member }) => member === agent?.member);
    }
    case "everyRank":
      return of("rank");
    case "everyMember":
      return all;
    case "store":
      return storePid === undefined
        ? []
        : [{ pid: storePid, role: "other", member: "store", localRank: -1 }];
    default:
      return target satisfies never;
  }
}

/** Sends a signal; who is gone already does not mind. */
export function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch {
      // ended meanwhile
    }
  }
}

function order({ role, member, localRank }: Found): string {
  return `${role} ${member} ${localRank + 1}`;
}

function pick<T>(list: readonly T[], index: number): readonly T[] {
  return list.length === 0 ? [] : list.slice(index % list.length, (index % list.length) + 1);
}

function after(line: readonly string[], flag: string): string {
  const at = line.indexOf(flag);
  return at < 0 ? "" : (line[at + 1] ?? "");
}

function isZombie(pid: string): boolean {
  const stat = read(`/proc/${pid}/stat`);
  return /^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // ended while we looked
  }
}
