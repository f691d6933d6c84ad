import { spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readServerFile, type ServerFile } from "../context.ts";
import { EXIT, Refusal } from "../exit.ts";
import { isServed } from "../up/data-directory.ts";
import { repositoryRoot } from "../up/python.ts";
import { factsOf, isUpOf } from "./pid-guard.ts";

// The kernel takes the lock of a killed process back at once; this is for a machine under load.
const GONE_MS_MAX = 10_000;
const POLL_MS = 20;

/** Throws a Refusal unless the pid in the server file is the `up` that holds this data directory. */
export function checkUp(server: ServerFile, dataDir: string): void {
  if (isUpOf(server.pid, dataDir)) return;
  throw new Refusal(EXIT.error, `process ${server.pid} is not the control plane of ${dataDir}`, {
    why: "nothing was sent to it",
    next: "look who holds the lock file of the data directory",
  });
}

/** kill -9 of the `up` of this data directory; returns when it is gone. Checks once more who it is. */
export async function killUp(server: ServerFile, dataDir: string): Promise<void> {
  checkUp(server, dataDir);
  process.kill(server.pid, "SIGKILL");
  for (let waited = 0; factsOf(server.pid) !== undefined || isServed(dataDir); waited += POLL_MS) {
    if (waited > GONE_MS_MAX) {
      throw new Refusal(EXIT.error, `process ${server.pid} was killed and is still there`);
    }
    await sleep(POLL_MS);
  }
}

/** Starts it again as `up --detach` does; returns what it announced. */
export async function startUp(dataDir: string): Promise<ServerFile> {
  const entry = join(repositoryRoot(), "packages", "cli", "bin", "shardctl");
  const args = [entry, "up", "--detach", "--data-dir", dataDir];
  const said = await new Promise<{ code: number | null; stderr: string }>((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString("utf8");
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stderr }));
  });
  const server = said.code === 0 ? readServerFile(dataDir) : null;
  if (server !== null) return server;
  throw new Refusal(EXIT.error, "the control plane was killed and did not start again", {
    why: whyOf(said.stderr),
    next: `shardctl up --data-dir ${dataDir}; the members wait for it`,
  });
}

/** What `up` said of its failure, without its own advice. */
function whyOf(stderr: string): readonly string[] {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !/^\s*next:/.test(line));
  return lines.map((line) => line.replace(/^\s*(error|why): +(why: +)?/, ""));
}
