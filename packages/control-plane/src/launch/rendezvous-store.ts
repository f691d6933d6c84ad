import { existsSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { Clock } from "@shardwright/service/clock";
import {
  findProcess,
  type LocalProcess,
  type LocalProcessPlan,
  startProcess,
  stopProcess,
} from "./local-process.ts";
import { isRunning } from "./process-table.ts";

/** Where ranks meet: the store process of one data directory. */
export interface RendezvousStore {
  readonly host: string;
  readonly port: number;
  readonly process: LocalProcess;
}

export interface RendezvousOptions {
  readonly dataDirectory: string;
  /** Command and arguments before the module's own, normally `python -m shardwright_trainer.agent.store`. */
  readonly command: readonly [string, ...string[]];
  readonly environment: Readonly<Record<string, string>>;
  readonly clock: Clock;
}

// Importing torch on a cold, slow disk takes tens of seconds.
const READY_MS_MAX = 120_000;
const READY_POLL_MS = 50;
const CONNECT_MS_MAX = 2_000;
const HOST = "127.0.0.1";

const readyPathOf = ({ dataDirectory }: RendezvousOptions): string =>
  join(dataDirectory, "store.json");

function planOf(options: RendezvousOptions): LocalProcessPlan {
  const [command, ...prefix] = options.command;
  const readyPath = readyPathOf(options);
  return {
    recordPath: join(options.dataDirectory, "store.process.json"),
    command,
    args: [...prefix, "--port", "0", "--ready-file", readyPath],
    marks: ["--ready-file", readyPath],
    environment: options.environment,
    logPath: join(options.dataDirectory, "store.log"),
    secret: null,
  };
}

/** Ends the store process of this data directory, whoever started it; none is success. */
export async function stopRendezvousStore(options: RendezvousOptions): Promise<void> {
  const known = findProcess(planOf(options), options.clock);
  if (known === undefined) return;
  await stopProcess(known, options.clock);
  rmSync(readyPathOf(options), { force: true });
}

/**
 * The store process of this data directory: the one that runs already, or a new one. It outlives us, because
 * generations that are running keep their keys in it.
 */
export async function ensureRendezvousStore(options: RendezvousOptions): Promise<RendezvousStore> {
  const plan = planOf(options);
  const readyPath = readyPathOf(options);
  const known = findProcess(plan, options.clock);
  if (known !== undefined) {
    const port = await readPort(readyPath, known, options.clock);
    if (await answers(port)) return { host: HOST, port, process: known };
    throw new Error(
      `the rendezvous store (pid ${known.identity.pid}) does not answer on port ${port}`,
    );
  }
  rmSync(readyPath, { force: true }); // of a store that is gone
  const started = await startProcess(plan);
  return { host: HOST, port: await readPort(readyPath, started, options.clock), process: started };
}

/** Waits for the file that the store writes once it listens. */
async function readPort(path: string, store: LocalProcess, clock: Clock): Promise<number> {
  const until = clock.now() + READY_MS_MAX;
  while (clock.now() < until) {
    const port = portIn(path);
    if (port !== undefined) return port;
    if (!isRunning(store.identity)) {
      throw new Error(
        `the rendezvous store ended before it was ready; see store.log beside ${path}`,
      );
    }
    await clock.sleep(READY_POLL_MS);
  }
  throw new Error(`the rendezvous store was not ready after ${READY_MS_MAX / 1000} s`);
}

/** Undefined while the file is missing or half written. */
function portIn(path: string): number | undefined {
  if (!existsSync(path)) return undefined;
  try {
    const { port } = JSON.parse(readFileSync(path, "utf8")) as { port?: unknown };
    return Number.isInteger(port) && Number(port) > 0 ? Number(port) : undefined;
  } catch {
    return undefined;
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: HOST, port, timeout: CONNECT_MS_MAX });
    const end = (isThere: boolean): void => {
      socket.destroy();
      resolve(isThere);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
    socket.once("timeout", () => end(false));
  });
}
