/** What `planJob` is told, and what it answers. Types only. */
import type { JobSpec, Reason } from "@shardwright/job";
import type { Calibration } from "./calibrate.ts";
import type { ModelCard } from "./model-card.ts";
import type { ParallelPlan, Recipe, RejectedAlternative } from "./parallel-plan.ts";

/** What the machine or the cluster offers one job. */
export interface DeviceFacts {
  /** `cpu`, or a GPU type of `GPU_CARDS` such as `H100`. */
  readonly kind: string;
  /** Bytes one rank may use. */
  readonly bytesPerRank: number;
  /** Most ranks this job could ever be given. */
  readonly ranksMax: number;
  /** CPU cores for all ranks together; only asked when `kind` is `cpu`. */
  readonly coresCount: number;
}

/** Facts about prepared data; unknown at submit. */
export interface DataFacts {
  readonly rows: number;
  /** Tokens of the longest row. */
  readonly rowTokensMax: number;
  /** Learned tokens of the whole data set. */
  readonly trainedTokens: number;
  /** Tokens of the whole data set, prompts included; without it rows count as long as the longest. */
  readonly tokens?: number;
}

export interface PlanRequest {
  readonly spec: JobSpec;
  readonly card: ModelCard;
  readonly devices: DeviceFacts;
  /** null until the data is prepared. */
  readonly data: DataFacts | null;
  /** Ratios learnt from earlier runs; null = priors only. */
  readonly calibration: Calibration | null;
  /**
   * The recipe of a job that already runs: planning for another number of ranks must keep its bits.
   * null = choose one.
   */
  readonly recipe: Recipe | null;
}

export type PlanOutcome =
  | {
      readonly fits: true;
      readonly plan: ParallelPlan;
      readonly rejected: readonly RejectedAlternative[];
      /** Sentences, in order; the same as `plan.explanation`. */
      readonly explanation: readonly string[];
    }
  | {
      readonly fits: false;
      readonly reason: Reason;
      readonly rejected: readonly RejectedAlternative[];
    };
