/** Which rows a micro-batch of a step reads, and how many steps a job has. Pure functions of seed, step and lane. */
import { permute } from "./order.ts";

export interface BatchShape {
  /** Rows in the prepared data. */
  readonly rows: number;
  /** Rows in one optimizer step. */
  readonly batchSize: number;
  readonly microBatchesPerLane: number;
  readonly microBatchRows: number;
}

export interface MicroBatchAddress {
  /** 0-based index of the step to run. */
  readonly step: number;
  readonly lane: number;
  readonly microBatch: number;
}

/** Steps of one pass over the data: the last one may be short. */
export function stepsPerEpoch(rows: number, batchSize: number): number {
  return Math.ceil(rows / batchSize);
}

/** Steps of the whole job: `maxSteps` wins over `epochs`. */
export function totalSteps(
  train: { readonly epochs: number; readonly maxSteps: number | null; readonly batchSize: number },
  rows: number,
): number {
  return train.maxSteps ?? Math.ceil(train.epochs * stepsPerEpoch(rows, train.batchSize));
}

/**
 * Rows of one micro-batch in order; empty where a short last step has none left.
 * Position p of a step belongs to lane p ÷ rowsPerLane and, inside it, to micro-batch (p mod rowsPerLane) ÷ microBatchRows.
 */
export function rowsOf(seed: number, shape: BatchShape, at: MicroBatchAddress): number[] {
  const perEpoch = stepsPerEpoch(shape.rows, shape.batchSize);
  const epoch = Math.floor(at.step / perEpoch);
  const first = (at.step % perEpoch) * shape.batchSize;
  const count = Math.min(shape.batchSize, shape.rows - first);
  const rowsPerLane = shape.microBatchesPerLane * shape.microBatchRows;
  const begin = at.lane * rowsPerLane + at.microBatch * shape.microBatchRows;
  const end = Math.min(begin + shape.microBatchRows, count);
  const rows: number[] = [];
  for (let position = begin; position < end; position++) {
    rows.push(permute(seed, epoch, shape.rows, first + position));
  }
  return rows;
}
