/** Work by key: one piece at a time for a key, in order; keys do not wait for one another. */
export interface WorkQueue {
  /** Resolves when the work is done; rejects as it does. */
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
  /** Resolves when nothing is queued or running. */
  idle(): Promise<void>;
}

// More than this waiting for one job is a flood: its senders must feel it.
const WAITING_MAX = 10_000;

export function createWorkQueue(): WorkQueue {
  const tails = new Map<string, { tail: Promise<unknown>; waiting: number }>();
  return {
    run: (key, work) => {
      const before = tails.get(key) ?? { tail: Promise.resolve(), waiting: 0 };
      if (before.waiting >= WAITING_MAX) {
        return Promise.reject(new Error(`${WAITING_MAX} events wait for job ${key}`));
      }
      const done = before.tail.then(work, work);
      const entry = { tail: done.catch(() => undefined), waiting: before.waiting + 1 };
      tails.set(key, entry);
      void entry.tail.then(() => {
        entry.waiting--;
        if (tails.get(key) === entry) tails.delete(key);
      });
      return done;
    },
    idle: async () => {
      while (tails.size > 0) await Promise.all([...tails.values()].map(({ tail }) => tail));
    },
  };
}
