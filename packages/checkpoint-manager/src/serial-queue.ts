/** Work on one key runs one after the other, in the order it came; different keys do not wait. */
export type SerialQueue = <T>(key: string, work: () => Promise<T>) => Promise<T>;

/** A queue per key that vanishes when it is empty. */
export function serialQueue(): SerialQueue {
  const tails = new Map<string, Promise<unknown>>();
  return (key, work) => {
    const before = tails.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    const tail = mine.then(noop, noop).then(() => {
      if (tails.get(key) === tail) tails.delete(key);
    });
    tails.set(key, tail);
    return mine;
  };
}

function noop(): void {}
