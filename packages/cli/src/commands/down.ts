import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { readServerFile } from "../context.ts";
import { EXIT, type ExitCode, Refusal } from "../exit.ts";
import type { Invocation } from "../invocation.ts";
import { isServed } from "../up/data-directory.ts";

// Longer than the drain of every part together.
const TIMEOUT_MS_DEFAULT = 60_000;
const POLL_MS = 100;

/** Stops the control plane of the data directory and waits until it is gone. Nothing running is success. */
export async function run(call: Invocation): Promise<ExitCode> {
  const { io, settings, flags } = call;
  const { dataDir } = settings;
  if (!existsSync(dataDir) || !isServed(dataDir)) {
    rmSync(join(dataDir, "server.json"), { force: true });
    io.err(`no control plane is running for ${dataDir}\n`);
    return EXIT.done;
  }
  const pid = await pidOf(dataDir);
  process.kill(pid, "SIGTERM");
  const until = io.now() + (flags.duration("timeout") ?? TIMEOUT_MS_DEFAULT);
  while (isServed(dataDir)) {
    if (io.now() > until) {
      throw new Refusal(EXIT.timeout, `process ${pid} has not stopped yet`, {
        next: `look into ${join(dataDir, "up.log")}; kill -9 ${pid} ends it, no committed step is lost`,
      });
    }
    await sleep(POLL_MS);
  }
  io.err(`stopped (process ${pid})\n`);
  return EXIT.done;
}

// A starting one holds the directory before it says who it is.
const STARTING_MS_MAX = 10_000;

async function pidOf(dataDir: string): Promise<number> {
  for (let waited = 0; waited < STARTING_MS_MAX; waited += POLL_MS) {
    const server = readServerFile(dataDir);
    if (server !== null) return server.pid;
    await sleep(POLL_MS);
  }
  throw new Refusal(EXIT.error, `a process holds ${join(dataDir, "lock")} but has not said which`, {
    next: "it may still be starting; try again",
  });
}
