/** Chance from one seed: the same seed, the same history. */
export interface Draw {
  /** In [0, 1). */
  unit(): number;
  /** A whole number in [low, high]. */
  int(low: number, high: number): number;
  /** Milliseconds in [low, high]. */
  ms(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
}

/** mulberry32. */
export function createDraw(seed: number): Draw {
  let state = seed >>> 0;
  const unit = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (low: number, high: number): number => low + Math.floor(unit() * (high - low + 1));
  return {
    unit,
    int,
    ms: int,
    chance: (probability) => unit() < probability,
    pick: <T>(list: readonly T[]): T => {
      const found = list[int(0, list.length - 1)];
      if (found === undefined) throw new Error("pick from an empty list");
      return found;
    },
  };
}

/** One 32-bit number from several; order matters. */
export function mix(...numbers: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const number of numbers) {
    hash = Math.imul(hash ^ (number >>> 0), 0x01000193);
    hash ^= hash >>> 13;
  }
  return hash >>> 0;
}
