/**
 * Which examples each lane of each step must consume, from the specification alone: written here a second time, with
 * other arithmetic (64-bit integers), so that it can disagree with the product.
 */
import { createHash } from "node:crypto";

/** Of a job whose rows are single examples, one row a lane, the batch a divisor of the data. */
export interface Consumption {
  readonly seed: number;
  readonly examples: number;
  /** Rows of a step; lane l takes the l-th. */
  readonly lanes: number;
  readonly steps: number;
}

/** One row of the journal: steps from 1, lanes from 0, example numbers from 1. */
export type Consumed = readonly [step: number, lane: number, examples: readonly number[]];

export function plannedRows({ seed, examples, lanes, steps }: Consumption): readonly Consumed[] {
  if (examples % lanes !== 0) throw new Error("the last batch of an epoch would be short");
  return Array.from({ length: steps * lanes }, (_, position): Consumed => {
    const epoch = Math.floor(position / examples);
    const row = rowAt({ seed, epoch, rows: examples }, position % examples);
    return [Math.floor(position / lanes) + 1, position % lanes, [row + 1]];
  });
}

/** SHA-256 over the example numbers as 64-bit little-endian integers, in order; hex. */
export function digestOf(rows: readonly Consumed[]): string {
  const numbers = BigInt64Array.from(rows.flatMap(([, , ids]) => ids.map(BigInt)));
  return createHash("sha256").update(new Uint8Array(numbers.buffer)).digest("hex");
}

/** The first row that is not what was planned, in words; null when all are, each once. */
export function firstDifference(
  planned: readonly Consumed[],
  found: readonly Consumed[],
): string | null {
  for (let at = 0; at < Math.max(planned.length, found.length); at++) {
    const wanted = JSON.stringify(planned[at] ?? "nothing");
    const had = JSON.stringify(found[at] ?? "nothing");
    if (wanted !== had) return `[step, lane, examples]: planned ${wanted}, consumed ${had}`;
  }
  return null;
}

const MASK = 0xffff_ffffn;

interface Order {
  readonly seed: number;
  readonly epoch: number;
  readonly rows: number;
}

/** An eight-round Feistel network over the next even power of two, walked until it lands on a row. */
function rowAt(order: Order, index: number): number {
  let bits = 2;
  while (2 ** bits < order.rows) bits += 2;
  const half = BigInt(bits / 2);
  let at = BigInt(index);
  do {
    let left = at >> half;
    let right = at & ((1n << half) - 1n);
    for (let round = 0n; round < 8n; round++) {
      const word = philox(right, round, order) & ((1n << half) - 1n);
      [left, right] = [right, left ^ word];
    }
    at = (left << half) | right;
  } while (at >= BigInt(order.rows));
  return Number(at);
}

/** First word of Philox4x32-10 (Salmon et al. 2011) at counter (word, round, epoch low, epoch high), key seed. */
function philox(word: bigint, round: bigint, order: Order): bigint {
  const epoch = BigInt(order.epoch);
  const seed = BigInt(order.seed);
  let counter = [word, round, epoch & MASK, epoch >> 32n];
  let key = [seed & MASK, seed >> 32n];
  for (let turn = 0; turn < 10; turn++) {
    const [a = 0n, b = 0n, c = 0n, d = 0n] = counter;
    const [k = 0n, l = 0n] = key;
    const first = 0xd251_1f53n * a;
    const second = 0xcd9e_8d57n * c;
    counter = [(second >> 32n) ^ b ^ k, second & MASK, (first >> 32n) ^ d ^ l, first & MASK];
    key = [(k + 0x9e37_79b9n) & MASK, (l + 0xbb67_ae85n) & MASK];
  }
  return counter[0] ?? 0n;
}
