import { mkdir } from "node:fs/promises";
import { CheckpointServiceService } from "@shardwright/proto";
import {
  bearerAuth,
  type Clock,
  createHealth,
  type Health,
  type Log,
  type Part,
  type RpcWatcher,
  startRpcServer,
  systemClock,
} from "@shardwright/service";
import { READER_GRACE_MS, SAVE_DEADLINE_MS } from "./config.ts";
import { emptyTrash, posixStore } from "./registers/posix.ts";
import { checkpointService } from "./rpc/checkpoint-service.ts";
import { openSaveDesk, type SaveDesk } from "./saves.ts";

export interface CheckpointManagerConfig {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  /** Absolute folder that holds one folder per run; made when absent. */
  readonly root: string;
  /** Whoever has it may do everything here. */
  readonly token: string;
  /** Interpreter for exports and the folder that holds shardwright_trainer ("" when it is installed). */
  readonly python: string;
  readonly pythonPath: string;
  readonly log: Log;
  readonly clock?: Clock;
  readonly saveDeadlineMs?: number;
  readonly readerGraceMs?: number;
  readonly watcher?: RpcWatcher;
}

export interface CheckpointManager {
  /** `host:port` with the real port. */
  readonly address: string;
  readonly parts: readonly Part[];
  readonly health: Health;
}

/** How often overdue saves are looked for: every save is decided within 30 s of its deadline. */
const EXPIRE_EVERY_MS = 10_000;

/** Starts the service; it is ready when this resolves. Close the parts in reverse. */
export async function buildCheckpointManager(
  config: CheckpointManagerConfig,
): Promise<CheckpointManager> {
  const clock = config.clock ?? systemClock;
  const { root, log, python, pythonPath } = config;
  // 1. The store.
  await mkdir(root, { recursive: true });
  await emptyTrash(root);
  const store = posixStore(root);
  // 2. The desk, and somebody who looks at the clock for it.
  const desk = openSaveDesk({
    store,
    log,
    now: clock.now,
    saveDeadlineMs: config.saveDeadlineMs ?? SAVE_DEADLINE_MS,
    readerGraceMs: config.readerGraceMs ?? READER_GRACE_MS,
  });
  const deadlines = watchDeadlines(desk, clock, log);
  // 3. The door.
  const drain = new AbortController();
  const world = { desk, store, root, python, pythonPath, log, drain: drain.signal };
  const server = await startRpcServer({
    listen: config.listen,
    services: [
      {
        definition: CheckpointServiceService,
        implementation: checkpointService(world),
        authenticate: bearerAuth(config.token),
      },
    ],
    drain,
    ...(config.watcher === undefined ? {} : { watcher: config.watcher }),
    onInternal: (path, fault) => log.error({ path, err: fault }, "a call has failed inside"),
  });
  const health = createHealth();
  health.ready();
  return { address: server.address, parts: [deadlines, server], health };
}

function watchDeadlines(desk: SaveDesk, clock: Clock, log: Log): Part {
  const stop = new AbortController();
  const watching = (async () => {
    while (!stop.signal.aborted) {
      await clock.sleep(EXPIRE_EVERY_MS, stop.signal);
      if (stop.signal.aborted) return;
      await desk
        .expire()
        .catch((reason: unknown) => log.error({ err: reason }, "expiring saves has failed"));
    }
  })();
  return {
    name: "save-deadlines",
    close: async () => {
      stop.abort();
      await watching;
    },
  };
}
