/**
 * The order of rows: a keyed permutation of [0, n) from (seed, epoch), id `philox4x32-v1`. Random access in
 * O(1), no shuffle buffer; the trainer has the same definition and both are held to the same golden vectors.
 */

/** Written into checkpoints, so that a reader knows which permutation the data cursor means. */
export const PERMUTATION_ID = "philox4x32-v1";

/** Rounds of the Feistel network: 4 already mix, 8 leave no visible pattern in tiny domains. */
const FEISTEL_ROUNDS = 8;
/** Rounds of Philox4x32 as Random123 publishes it. */
const PHILOX_ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const TWO_32 = 2 ** 32;

export type Words4 = readonly [number, number, number, number];
export type Words2 = readonly [number, number];

/** High and low word of the 64-bit product of two unsigned 32-bit words, by 16-bit halves of `b`. */
function multiply(a: number, b: number): Words2 {
  const low = Math.imul(a, b) >>> 0;
  // Both partial products stay below 2^48, so the sum is an exact double.
  const upper = a * (b >>> 16) + Math.floor((a * (b & 0xffff)) / 0x10000);
  return [Math.floor(upper / 0x10000), low];
}

/** Philox4x32-10 of Random123: four unsigned 32-bit words from a counter and a key of unsigned words. */
export function philox4x32(counter: Words4, key: Words2): Words4 {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < PHILOX_ROUNDS; round++) {
    const [high0, low0] = multiply(MULTIPLIER_0, c0);
    const [high1, low1] = multiply(MULTIPLIER_1, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Bits of the smallest power of two ≥ n, at least 2 and even: the two Feistel halves are equally wide. */
function feistelBits(n: number): number {
  let bits = 0;
  while (2 ** bits < n) bits++;
  bits = Math.max(2, bits);
  return bits + (bits % 2);
}

/**
 * Where position `index` of `epoch` goes: a bijection of [0, n) for each (seed, epoch).
 * `seed`, `epoch` and `index` are non-negative safe integers, 1 ≤ n ≤ 2^52, index < n.
 */
export function permute(seed: number, epoch: number, n: number, index: number): number {
  if (!(Number.isSafeInteger(index) && index >= 0 && index < n)) {
    throw new RangeError(`permute: index ${index} is outside [0, ${n})`);
  }
  const half = feistelBits(n) / 2;
  const width = 2 ** half;
  const mask = width - 1;
  const key: Words2 = [seed % TWO_32, Math.floor(seed / TWO_32)];
  const epochLow = epoch % TWO_32;
  const epochHigh = Math.floor(epoch / TWO_32);
  let x = index;
  do {
    let left = Math.floor(x / width);
    let right = x % width;
    for (let round = 0; round < FEISTEL_ROUNDS; round++) {
      const [word] = philox4x32([right, round, epochLow, epochHigh], key);
      [left, right] = [right, (left ^ (word & mask)) >>> 0];
    }
    x = left * width + right;
  } while (x >= n); // Cycle walking: the cycle through `index` meets [0, n) again, at the latest in `index` itself.
  return x;
}
