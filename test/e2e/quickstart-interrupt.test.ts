import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { cacheFolder } from "../../packages/cli/bin/python-environment.mjs";
import { fixtures } from "./harness.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const NODE = join(ROOT, "node_modules", ".bin", "node");
/** A whole start of Python and torch on a busy machine. */
const STAGE_MS_MAX = 120_000;
const LEAVE_MS_MAX = 10_000;

let folder: string;
beforeEach(async () => {
  await fixtures(); // the Python environment is there
  folder = mkdtempSync(join(tmpdir(), "shardwright-interrupt-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Every process that names `text` in its arguments or its environment. */
function processesOf(text: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    try {
      const about = ["cmdline", "environ"].map((name) => readFileSync(`/proc/${pid}/${name}`));
      return about.some((bytes) => bytes.includes(text));
    } catch {
      return false; // it ended meanwhile, or is not ours
    }
  });
}

/** Runs the quickstart in a group of its own, as a terminal does, and interrupts the group when `seen` is printed. */
async function interruptedAt(seen: RegExp): Promise<{ code: number | null; output: string }> {
  const bootstrap = join(ROOT, "packages", "cli", "bin", "bootstrap.mjs");
  const child = spawn(NODE, [bootstrap, "quickstart", "--data-dir", join(folder, "state")], {
    detached: true,
    env: { ...process.env, QUICKSTART_INTERRUPTED: folder },
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
  while (!seen.test(output) && child.exitCode === null && Date.now() < until) await sleep(20);
  expect(output).toMatch(seen);
  process.kill(-(child.pid ?? 0), "SIGINT");
  return { code: await ended, output };
}

const isModelThere = existsSync(join(cacheFolder(process.env), "quickstart", "facts.json"));

it("leaves one line and no process behind when it is interrupted before anything is made", async () => {
  await interruptsCleanly(/1\. Model and data/);
});

// The services are a session of their own: no Ctrl-C of a terminal reaches them.
it.skipIf(!isModelThere).each([/\$ shardctl up --detach/, /ready: 127/, /is connected and loads/])(
  "stops the services that it has started when it is interrupted at %s",
  interruptsCleanly,
);

async function interruptsCleanly(seen: RegExp): Promise<void> {
  const { code, output } = await interruptedAt(seen);
  expect(code).toBe(130);
  expect(output.trimEnd().split("\n").at(-1)).toBe("interrupted; run again to go on");
  expect(output).not.toMatch(/Traceback|error:/);
  // Agents of a control plane that has left see it within a beat or two.
  const until = Date.now() + LEAVE_MS_MAX;
  while (processesOf(folder).length > 0 && Date.now() < until) await sleep(100);
  expect(processesOf(folder)).toEqual([]);
}
