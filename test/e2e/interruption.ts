/** Commands that are interrupted as a terminal does it, and what is left of them. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { INTERRUPTED } from "../../packages/cli/bin/python-environment.mjs";

/** A whole start of Python and torch on a busy machine. */
const STAGE_MS_MAX = 120_000;
// Members that are stopped get a grace of 15 s.
const LEAVE_MS_MAX = 20_000;
const LOOK_MS = 20;

export interface Interrupted {
  readonly code: number | null;
  readonly output: string;
}

export interface Interruption {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** When it is interrupted: by what was printed so far, or by what lies on the disk. */
  readonly when: (output: string) => boolean;
  readonly signal?: "SIGINT" | "SIGKILL";
}

/** Runs a command in a group of its own and signals the whole group, once, when it is time. Fails when it ends before. */
export async function interrupt(interruption: Interruption): Promise<Interrupted> {
  const { command, args, cwd, env, when, signal = "SIGINT" } = interruption;
  const child = spawn(command, [...args], {
    detached: true,
    cwd,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString("utf8");
    });
  }
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  const until = Date.now() + STAGE_MS_MAX;
  while (!when(output) && child.exitCode === null && Date.now() < until) await sleep(LOOK_MS);
  const isTime = when(output) && child.exitCode === null;
  if (child.exitCode === null) process.kill(-(child.pid ?? 0), isTime ? signal : "SIGKILL");
  const code = await ended;
  expect({ isTime, output }).toEqual({ isTime: true, output });
  return { code, output };
}

/** Ctrl-C was answered with one line and 130, and no process that names `mark` is left. */
export async function expectClean({ code, output }: Interrupted, mark: string): Promise<void> {
  expect({ code, output }).toEqual({ code: 130, output });
  expect(output.trimEnd().split("\n").at(-1)).toBe(INTERRUPTED);
  expect(output).not.toMatch(/Traceback|error:/);
  const until = Date.now() + LEAVE_MS_MAX;
  while (processesOf(mark).length > 0 && Date.now() < until) await sleep(100);
  expect(processesOf(mark)).toEqual([]);
}

/** Arguments of every process that names `text` in its arguments or its environment. */
export function processesOf(text: string): string[] {
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      const read = (name: string): string => readFileSync(`/proc/${pid}/${name}`, "latin1");
      const [line, environment] = [read("cmdline"), read("environ")];
      const names = line.includes(text) || environment.includes(text);
      return names && line !== "" ? [`${pid} ${line.replaceAll("\0", " ")}`] : [];
    } catch {
      return []; // it ended meanwhile, or is not ours
    }
  });
}
