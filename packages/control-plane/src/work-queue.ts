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

// A thousand members that come back at once are a few pieces of work; larger ones would hold other keys up.
const GATHERED_MAX = 256;

/**
 * Items that come while earlier ones of their key wait or are worked on are gathered: the next piece of work is about
 * all of them, in order. Resolves or rejects as the work an item went into.
 */
export function createGathering<T>(
  queue: WorkQueue,
  work: (key: string, items: readonly T[]) => Promise<void>,
): (key: string, item: T) => Promise<void> {
  const gathered = new Map<string, { readonly items: T[]; readonly done: Promise<void> }>();
  return (key, item) => {
    const open = gathered.get(key);
    if (open !== undefined && open.items.length < GATHERED_MAX) {
      open.items.push(item);
      return open.done;
    }
    const items = [item];
    const close = (): void => {
      if (gathered.get(key)?.items === items) gathered.delete(key);
    };
    const done = queue.run(key, () => {
      close();
      return work(key, items);
    });
    gathered.set(key, { items, done });
    void done.catch(close); // refused before it began
    return done;
  };
}
