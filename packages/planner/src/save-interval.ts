/** How often to save: the interval at which saving costs as much as the work that faults make redone. */

export interface SaveFacts {
  /** Ts: seconds that training stands still for one save. */
  readonly stallSeconds: number;
  /** M_f: mean seconds between faults that need a checkpoint. */
  readonly faultSeconds: number;
  /** T_r: seconds from such a fault to training again. */
  readonly recoverySeconds: number;
}

/** Young's first-order interval. */
export function youngSeconds({ stallSeconds, faultSeconds }: SaveFacts): number {
  return Math.sqrt(2 * stallSeconds * faultSeconds);
}

/** Daly's higher-order interval. */
export function dalySeconds(facts: SaveFacts): number {
  const { stallSeconds, faultSeconds } = facts;
  if (stallSeconds >= 2 * faultSeconds) return faultSeconds;
  const ratio = stallSeconds / (2 * faultSeconds);
  return youngSeconds(facts) * (1 + Math.sqrt(ratio) / 3 + ratio / 9) - stallSeconds;
}

/** Ours: counts the recovery as well. */
export function saveIntervalSeconds(facts: SaveFacts): number {
  const { stallSeconds, faultSeconds, recoverySeconds } = facts;
  return (
    stallSeconds +
    Math.sqrt(2 * (faultSeconds + recoverySeconds) * stallSeconds + stallSeconds ** 2)
  );
}

/** Share of time spent on saving and on redoing and recovering, at a given interval. */
export function wasteRatio(facts: SaveFacts, intervalSeconds: number): number {
  const { stallSeconds, faultSeconds, recoverySeconds } = facts;
  return stallSeconds / intervalSeconds + (intervalSeconds / 2 + recoverySeconds) / faultSeconds;
}

/** Mean time between faults of one rank's device until a cluster has its own history: 10,000 hours. */
const DEVICE_FAULT_SECONDS = 10_000 * 3600;
/** Recovery from storage until it was measured. */
const RECOVERY_SECONDS = 60;
/** Copying state to host memory, and from there to storage: one NVMe disk or one object store stream. Priors. */
export const HOST_COPY_BYTES_PER_SECOND = 2e9;
const PERSIST_BYTES_PER_SECOND = 200e6;
/** A small state is saved more often than faults ask for, while the stall stays below this share of the time… */
const STALL_RATIO_MAX = 0.01;
/** …and storage is busy for at most this share of it. */
const PERSIST_RATIO_MAX = 0.1;

export interface AutoSaveQuestion {
  /** Bytes of a checkpoint: master and moments. */
  readonly stateBytes: number;
  readonly ranks: number;
  readonly stepSeconds: number;
  /** The state is an adapter's: saving it is nearly free. */
  readonly isSmall: boolean;
}

/** Steps between two saves that the planner chooses by itself, at least 1. */
export function autoSaveSteps(question: AutoSaveQuestion): number {
  const { stateBytes, ranks, stepSeconds, isSmall } = question;
  const stallSeconds = stateBytes / ranks / HOST_COPY_BYTES_PER_SECOND;
  const persistSeconds = stateBytes / PERSIST_BYTES_PER_SECOND;
  const faultSeconds = DEVICE_FAULT_SECONDS / ranks;
  const facts = { stallSeconds, faultSeconds, recoverySeconds: RECOVERY_SECONDS };
  const byFaults = Math.max(saveIntervalSeconds(facts), persistSeconds);
  const byCost = Math.max(stallSeconds / STALL_RATIO_MAX, persistSeconds / PERSIST_RATIO_MAX);
  return stepsIn(isSmall ? Math.min(byFaults, byCost) : byFaults, stepSeconds);
}

/** Whole steps that take at least `seconds`. */
export function stepsIn(seconds: number, stepSeconds: number): number {
  return Math.max(1, Math.ceil(seconds / stepSeconds));
}
