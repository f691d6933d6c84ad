/** Waits and limits; defaults in `POLICY_DEFAULT`. Milliseconds unless the name says otherwise. */
export interface Policy {
  /** From the first loaded member on, others are waited for at most this long. */
  readonly stragglerWaitMs: number;
  readonly formationTimeoutMs: number;
  readonly formationTriesMax: number;
  readonly formationBackoffMs: number;
  /** A member whose stream is broken counts as lost after this, when its peers wait for it. */
  readonly silenceMs: number;
  /** A member that was never heard, or does not load, is lost after this. */
  readonly launchMs: number;
  readonly saveDeadlineMs: number;
  /** Budgets are given back after so many further steps. */
  readonly refundSteps: number;
  readonly decidedSavesKept: number;
  /** A living member that does not say where its ranks stopped is given up after this. */
  readonly boundaryWaitMs: number;
}

export const POLICY_DEFAULT: Policy = {
  // Members of one machine load within seconds of one another; a slow disk takes longer.
  stragglerWaitMs: 120_000,
  formationTimeoutMs: 60_000,
  formationTriesMax: 8,
  formationBackoffMs: 200,
  // Three missed beats, then some: the agent reconnects with a backoff of at most 10 s.
  silenceMs: 12_000,
  // Loading a large model from a slow disk; longer is a hang.
  launchMs: 900_000,
  saveDeadlineMs: 1_800_000,
  refundSteps: 50,
  decidedSavesKept: 8,
  // A rank stops at the end of its step at the latest; hung ones are named by their agent before that.
  boundaryWaitMs: 300_000,
};
