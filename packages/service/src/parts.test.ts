import { expect, test } from "vitest";
import { manualClock, systemClock } from "./clock.ts";
import { createHealth } from "./health.ts";
import { createLog } from "./log.ts";
import { closeInReverse } from "./parts.ts";
import { runService } from "./run-service.ts";

test("closes last first; late and failing parts are named and stop nobody", async () => {
  const closed: string[] = [];
  const part = (name: string, work: () => Promise<void>) => ({
    name,
    close: async () => {
      closed.push(name);
      await work();
    },
  });
  const late = await closeInReverse(
    [
      part("store", async () => undefined),
      part("stuck", () => new Promise<void>(() => undefined)),
      part("broken", () => Promise.reject(new Error("no"))),
      {
        name: "throws",
        close: () => {
          throw new Error("at once");
        },
      },
    ],
    30,
    systemClock.now,
  );
  expect(closed).toEqual(["broken", "stuck", "store"]);
  // The stuck part used up the budget: what is closed after it is called, but has no time left to wait.
  expect(late.slice(0, 3)).toEqual(["throws", "broken", "stuck"]);
});

test("a service is ready while it runs; a stop makes it not ready before anything closes", async () => {
  const health = createHealth();
  const stop = new AbortController();
  const clock = manualClock();
  const states: (string | undefined)[] = [];
  const listeners = process.listenerCount("SIGTERM");
  expect(health.notReadyBecause()).toBe("starting");
  const done = runService({
    parts: [{ name: "store", close: async () => void states.push(health.notReadyBecause()) }],
    health,
    log: createLog({ service: "test", version: "0", level: "silent" }),
    endpointPauseMs: 2_000,
    drainTimeoutMs: 1_000,
    clock,
    stop: stop.signal,
  });
  expect(health.notReadyBecause()).toBeUndefined();
  stop.abort();
  await clock.advance(1_999);
  expect(states).toEqual([]);
  await clock.advance(1);
  expect(await done).toEqual([]);
  expect(states).toEqual(["stopping"]);
  expect(process.listenerCount("SIGTERM")).toBe(listeners);
});
