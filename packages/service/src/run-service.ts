import { type Clock, systemClock } from "./clock.ts";
import type { Health } from "./health.ts";
import type { Log } from "./log.ts";
import { closeInReverse, type Part } from "./parts.ts";

export interface RunOptions {
  /** In the order they were opened; servers last, so that they close first. */
  readonly parts: readonly Part[];
  readonly health: Health;
  readonly log: Log;
  /** Time for load balancers to notice "not ready"; 0 in embedded mode. */
  readonly endpointPauseMs: number;
  /** Budget for closing every part; below the grace period of whoever stops us. */
  readonly drainTimeoutMs: number;
  readonly clock?: Clock;
  /** Stops the service as a signal would. */
  readonly stop?: AbortSignal;
}

/**
 * Runs until SIGTERM, SIGINT or `stop`, then closes everything: not ready, pause, parts in reverse.
 * Returns the names of parts that did not close in time. A second signal ends the process at once.
 */
export async function runService(options: RunOptions): Promise<readonly string[]> {
  const { log } = options;
  const stop = listenForStop(options.stop);
  options.health.ready();
  log.info({ parts: options.parts.map((part) => part.name) }, "service is ready");
  log.info({ reason: await stop.asked }, "service is stopping");
  const late = await stopService(options);
  stop.dispose();
  if (late.length > 0) log.error({ late }, "parts did not close in time");
  else log.info("service has stopped");
  return late;
}

/** The closing half of `runService`, for who has a waiting of its own. */
export async function stopService(options: RunOptions): Promise<readonly string[]> {
  const clock = options.clock ?? systemClock;
  // 1. Not ready: no new traffic.
  options.health.notReady("stopping");
  // 2. Endpoints move.
  if (options.endpointPauseMs > 0) await clock.sleep(options.endpointPauseMs);
  // 3. Servers drain first (they were opened last), then what they used.
  return await closeInReverse(options.parts, options.drainTimeoutMs, clock.now);
}

// 128 + SIGINT, as shells expect it.
const EXIT_CODE_FORCED = 130;

/** Listens until disposed of: the second signal must find somebody while the service is stopping. */
function listenForStop(stop: AbortSignal | undefined): {
  readonly asked: Promise<string>;
  dispose(): void;
} {
  const { promise, resolve } = Promise.withResolvers<string>();
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    signals += 1;
    if (signals > 1) process.exit(EXIT_CODE_FORCED);
    resolve(signal);
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  if (stop?.aborted) resolve("stop");
  stop?.addEventListener("abort", () => resolve("stop"), { once: true });
  return {
    asked: promise,
    dispose: () => {
      process.off("SIGTERM", onSignal);
      process.off("SIGINT", onSignal);
    },
  };
}
