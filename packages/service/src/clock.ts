import { setTimeout as sleep } from "node:timers/promises";

/** Time as a port: shells take it as an argument, tests hold it in their hand. */
export interface Clock {
  /** Unix milliseconds. */
  now(): number;
  /** Resolves after `ms`, or at once when `signal` fires. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) =>
    sleep(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined),
};

/** A clock that moves only when told to. */
export interface ManualClock extends Clock {
  /** Moves on by `ms` and wakes every sleeper whose time has come, in order. */
  advance(ms: number): Promise<void>;
}

export function manualClock(startMs = 0): ManualClock {
  let current = startMs;
  let sleepers: { at: number; wake: () => void }[] = [];
  return {
    now: () => current,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted) return resolve();
        sleepers.push({ at: current + ms, wake: resolve });
        signal?.addEventListener("abort", () => resolve(), { once: true });
      }),
    advance: async (ms) => {
      await turn(); // whoever is about to sleep falls asleep first
      current += ms;
      const due = sleepers.filter((sleeper) => sleeper.at <= current).sort((a, b) => a.at - b.at);
      sleepers = sleepers.filter((sleeper) => sleeper.at > current);
      for (const sleeper of due) sleeper.wake();
      await turn();
    },
  };
}

/** Lets everything run that is ready to. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
