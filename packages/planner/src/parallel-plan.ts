/**
 * The planner's results as plain data. They mirror plan.proto; counts and bytes are safe integers here,
 * and `wire.ts` alone converts. Nothing in this file decides anything.
 */
import type { Reason } from "@shardwright/job";

/** Bytes of one rank at its peak, by category; these names in this order everywhere. Their sum is the peak. */
export interface MemoryBytes {
  readonly weights: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly replicas: number;
  readonly activations: number;
  readonly logits: number;
  readonly transients: number;
  readonly context: number;
  readonly slack: number;
}

export type ComputeDtype = "fp32" | "bf16";
export type AttentionPath = "sdpa" | "varlen" | "math";
/** All tokens of a micro-batch, or only those a loss depends on, an opening that its documents share once. */
export type ComputedTokens = "all" | "needed";
export type Checkpointing = "none" | "full";

/** What decides the bits of a run besides spec and data; a rank with another digest is refused. */
export interface Recipe {
  readonly computeDtype: ComputeDtype;
  /** Dtype of a gradient leaf in the canonical tree. */
  readonly wireDtype: ComputeDtype;
  /** G: lanes of one optimizer step, fixed for the job. */
  readonly lanes: number;
  readonly microBatchesPerLane: number;
  readonly microBatchRows: number;
  /** Tokens of one row with its padding; 0: a row is as long as its tokens. */
  readonly rowTokens: number;
  readonly crossEntropyRows: number;
  readonly attention: AttentionPath;
  readonly threadsPerRank: number;
  readonly optimizerImplementation: string;
  /** Not part of the digest: it changes no bits and may change during a job. */
  readonly gradientCheckpointing: Checkpointing;
  readonly deviceType: string;
  readonly computedTokens: ComputedTokens;
}

/** An alternative that was not taken: what it was, and why not. */
export interface RejectedAlternative extends Reason {
  readonly what: string;
}

export type ZeroStage = 0 | 1 | 2 | 3;

/** How a job fits. */
export interface ParallelPlan {
  readonly zeroStage: ZeroStage;
  readonly ranks: number;
  readonly members: number;
  readonly ranksPerMember: number;
  readonly blockElements: number;
  readonly trainableElements: number;
  /** Copies of every block of optimizer state, the owner's included. */
  readonly copies: number;
  readonly recipe: Recipe;
  readonly memory: MemoryBytes;
  readonly peakBytesPredicted: number;
  readonly deviceBytes: number;
  readonly stepSecondsPredicted: number;
  /** 0 while the number of steps is not known (the data is not prepared yet). */
  readonly totalStepsPredicted: number;
  /** 0 while the number of steps is not known. */
  readonly hoursPredicted: number;
  readonly rejected: readonly RejectedAlternative[];
  /** Sentences, in order. */
  readonly explanation: readonly string[];
  readonly warnings: readonly string[];
  readonly saveEverySteps: number;
  /** Steps between two snapshots of state in the agents' memory; 0 = none are taken. */
  readonly snapshotEverySteps: number;
  readonly fits: boolean;
}

/** A run of neighbouring blocks with the same holders: holders[0] owns, the others hold replicas. */
export interface BlockRun {
  readonly firstBlock: number;
  readonly blocks: number;
  readonly holders: readonly number[];
}

/** Block → holders, run-length coded, covering [0, blocks) in order. */
export interface BlockMap {
  readonly elements: number;
  readonly blockElements: number;
  readonly blocks: number;
  readonly runs: readonly BlockRun[];
}

/** Lanes [begin, end) belong to this rank; in ZeRO stage 2 that many, dealt in rounds. */
export interface LaneRange {
  readonly rank: number;
  readonly begin: number;
  readonly end: number;
}

/** One tensor of the flat space: elements [begin, end). */
export interface FlatTensor {
  readonly fqn: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** The trainable parameters in canonical order, concatenated without gaps. */
export interface FlatLayout {
  readonly tensors: readonly FlatTensor[];
  readonly elements: number;
  /** sha256 of the ordered (fqn, shape, dtype). */
  readonly fingerprint: string;
}

/** Blocks [firstBlock, firstBlock + blocks) go from one rank to another; rank numbers of the new generation. */
export interface TransferMove {
  readonly id: number;
  readonly firstBlock: number;
  readonly blocks: number;
  readonly sourceRank: number;
  readonly targetRank: number;
  readonly bytes: number;
}

export interface TransferPlan {
  readonly sourceGeneration: number;
  readonly targetGeneration: number;
  readonly moves: readonly TransferMove[];
  readonly totalBytes: number;
}
