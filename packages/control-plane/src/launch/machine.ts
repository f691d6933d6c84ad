import { availableParallelism, hostname, totalmem } from "node:os";
import type { LocalMachine } from "@shardwright/scheduler";

// What the system, the control plane and the page cache need beside the ranks.
const RESERVED_BYTES = 512 * 1024 * 1024;
// A machine this small still gets half of its memory for ranks.
const USABLE_SHARE_MIN = 0.5;

export interface MachineFacts {
  readonly name: string;
  readonly cores: number;
  readonly memoryBytes: number;
}

/** What the operator says about this machine; null = as measured. */
export interface MachineLimits {
  readonly ranksMax: number | null;
  readonly memoryBytesMax: number | null;
}

/** This machine as the scheduler's one node. A limit of the container counts before what the machine has. */
export function measureMachine(): MachineFacts {
  const limit = process.constrainedMemory();
  const total = totalmem();
  return {
    name: hostname(),
    cores: availableParallelism(),
    memoryBytes: limit > 0 && limit < total ? limit : total,
  };
}

/** Facts and limits → what may be used for ranks. */
export function asLocalMachine(facts: MachineFacts, limits: MachineLimits): LocalMachine {
  const usable = Math.max(
    facts.memoryBytes - RESERVED_BYTES,
    Math.floor(facts.memoryBytes * USABLE_SHARE_MIN),
  );
  return {
    name: facts.name,
    slots: limits.ranksMax ?? facts.cores,
    memoryBytes: Math.min(usable, limits.memoryBytesMax ?? usable),
  };
}
