/**
 * Devices as planning knows them before anything ran on them. Peak rates and bandwidths are the makers' figures for
 * dense bf16; what is sustained of them is a prior, replaced by measured ratios (calibrate.ts).
 */

export interface DeviceCard {
  readonly kind: string;
  readonly isCpu: boolean;
  /** Memory as the maker states it; a job plans with what its machine reports. */
  readonly bytes: number;
  /** Dense 16-bit operations per second: the denominator of MFU. 0 for a CPU, whose rate is per thread. */
  readonly peakFlops: number;
  /** Prior of what long products reach. */
  readonly sustainedFlops: number;
  readonly memoryBytesPerSecond: number;
  /** Between two ranks; prior. */
  readonly linkBytesPerSecond: number;
  /** Computes in bf16 at full rate. */
  readonly hasBf16: boolean;
}

const GIB = 2 ** 30;
/** Share of the maker's peak that large products sustain, as measured on the H200 class (790 of 989 TFLOP/s). */
const SUSTAINED_RATIO = 0.8;
/** NVLink class; PCIe cards share the bus with the host. Priors. */
const NVLINK_BYTES_PER_SECOND = 350e9;
const PCIE_BYTES_PER_SECOND = 20e9;

interface GpuFigures {
  readonly gib: number;
  readonly teraflops: number;
  readonly terabytesPerSecond: number;
  readonly hasNvlink: boolean;
}

function gpu(kind: string, figures: GpuFigures): DeviceCard {
  return {
    kind,
    isCpu: false,
    bytes: figures.gib * GIB,
    peakFlops: figures.teraflops * 1e12,
    sustainedFlops: figures.teraflops * 1e12 * SUSTAINED_RATIO,
    memoryBytesPerSecond: figures.terabytesPerSecond * 1e12,
    linkBytesPerSecond: figures.hasNvlink ? NVLINK_BYTES_PER_SECOND : PCIE_BYTES_PER_SECOND,
    hasBf16: kind !== "T4",
  };
}

/**
 * Floating-point operations per second of one CPU thread in fp32: about 100 trained tokens a second of a
 * 135M-parameter model. A prior; machines differ by a factor of three either way.
 */
export const CPU_FLOPS_PER_THREAD = 81e9;

const CPU: DeviceCard = {
  kind: "cpu",
  isCpu: true,
  bytes: 0,
  peakFlops: 0,
  sustainedFlops: CPU_FLOPS_PER_THREAD,
  // One thread's share of a desktop memory bus, and gloo over loopback as measured on two shared cores.
  memoryBytesPerSecond: 10e9,
  linkBytesPerSecond: 0.79e9,
  hasBf16: false,
};

const CARDS: readonly DeviceCard[] = [
  CPU,
  {
    ...gpu("H200", { gib: 139, teraflops: 989, terabytesPerSecond: 4.8, hasNvlink: true }),
    sustainedFlops: 790e12,
  },
  gpu("H100", { gib: 80, teraflops: 989, terabytesPerSecond: 3.35, hasNvlink: true }),
  gpu("A100-80G", { gib: 80, teraflops: 312, terabytesPerSecond: 2, hasNvlink: true }),
  gpu("A100-40G", { gib: 40, teraflops: 312, terabytesPerSecond: 1.55, hasNvlink: true }),
  gpu("L40S", { gib: 48, teraflops: 362, terabytesPerSecond: 0.864, hasNvlink: false }),
  gpu("L4", { gib: 24, teraflops: 121, terabytesPerSecond: 0.3, hasNvlink: false }),
  gpu("A10G", { gib: 24, teraflops: 70, terabytesPerSecond: 0.6, hasNvlink: false }),
  gpu("RTX4090", { gib: 24, teraflops: 165, terabytesPerSecond: 1.008, hasNvlink: false }),
  gpu("T4", { gib: 16, teraflops: 65, terabytesPerSecond: 0.32, hasNvlink: false }),
];

/** Every device kind by name: `cpu` and the GPU types. */
export const GPU_CARDS: ReadonlyMap<string, DeviceCard> = new Map(
  CARDS.map((card) => [card.kind, card]),
);

/**
 * A warmed-up trainer on a CPU: interpreter, torch, transformers and peft, as resident bytes. Measured.
 * With it, predicted peaks of a 135M model lay 3 to 5 % above measured ones (LoRA at 256, 1,024 and 2,048 tokens, full
 * at 512), provided glibc maps large tensors one by one (`MALLOC_MMAP_THRESHOLD_=131072`). Left to adapt its
 * threshold, it keeps holes between tensors, and a rank that tunes an adapter takes up to 1.9 times as much.
 */
export const CPU_CONTEXT_BYTES = 750 * 2 ** 20;
/** CUDA context (prior) and cuBLAS workspace (Hopper). */
const CUDA_CONTEXT_BYTES = 600_000_000 + 32 * 2 ** 20;
/** Channels of NCCL, once there is anybody to talk to. Prior. */
const NCCL_BYTES = 500_000_000;

/** What a rank occupies before it holds a tensor of ours. */
export function contextBytesOf(card: DeviceCard, ranks: number): number {
  if (card.isCpu) return CPU_CONTEXT_BYTES;
  return CUDA_CONTEXT_BYTES + (ranks > 1 ? NCCL_BYTES : 0);
}
