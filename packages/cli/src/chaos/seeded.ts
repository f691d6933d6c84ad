/** Numbers in [0, 1), the same ones for the same seed on every machine (mulberry32: 32 bits of state are enough here). */
export function seededChance(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One of them, by a number in [0, 1); undefined of none. */
export function pick<T>(from: readonly T[], chance: number): T | undefined {
  return from[Math.min(from.length - 1, Math.floor(chance * from.length))];
}
