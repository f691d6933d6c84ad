"""What the control plane decided, as plain data; needs neither torch nor protobuf (plan/wire.py converts)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the bits of a run besides spec and data; a rank with another digest is refused."""

    compute_dtype: str
    """"fp32" or "bf16": dtype of parameters and activations."""
    wire_dtype: str
    """"fp32" or "bf16": dtype of a gradient leaf in the canonical tree."""
    lanes: int
    """G, lanes of one optimizer step."""
    micro_batches_per_lane: int
    micro_batch_rows: int
    row_tokens: int
    """Tokens of one row with its padding; 0: a row is as long as its tokens (CPU)."""
    cross_entropy_rows: int
    attention: str
    """"sdpa", "varlen" or "math"."""
    threads_per_rank: int
    optimizer_implementation: str
    gradient_checkpointing: str
    """"none" or "full"; not part of the digest, it changes no bits."""
    device_type: str
    computed_tokens: str = "all"
    """"all", or "needed": only what a loss depends on, an opening that documents share once. A plan that is
    older than this field does not say it and means "all"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankConfig:
    """Everything a rank process must know before it loads; the same for every rank of the job."""

    job_name: str
    spec: dict[str, Any]
    """The expanded JobSpec, as the canonical JSON of packages/job/src/spec.ts."""
    recipe: Recipe
    zero_stage: int
    block_elements: int
    model_directory: str
    data_directory: str
    """A folder that data/prepare.py made."""
    work_directory: str
    total_steps: int
    steps_per_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatTensor:
    fqn: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatLayout:
    """The trainable parameters in canonical order, concatenated: tensor i is elements [begin, end)."""

    tensors: tuple[FlatTensor, ...]
    elements: int
    fingerprint: str
    """sha256 (hex) of the ordered (fqn, shape, dtype)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRun:
    first_block: int
    blocks: int
    holders: tuple[int, ...]
    """holders[0] owns; the others hold replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMap:
    """Block → holders, run-length coded, covering [0, blocks) in order."""

    elements: int
    block_elements: int
    blocks: int
    runs: tuple[BlockRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRange:
    rank: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferMove:
    id: int
    first_block: int
    blocks: int
    source_rank: int
    """Rank in the new generation."""
    target_rank: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshSource:
    """Step 0: weights as loaded, moments zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSource:
    """Blocks move between living ranks; all of them are brought to target_version first."""

    target_version: int
    moves: tuple[TransferMove, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSource:
    run_directory: str
    commit: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSource:
    """Copies in the memory of the agents; `moves` bring what the own agent does not have."""

    generation: int
    """That took the snapshot."""
    step: int
    moves: tuple[TransferMove, ...]


StateSource = FreshSource | LiveSource | CheckpointSource | SnapshotSource


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """One rank's part of a snapshot, as the own agent keeps it."""

    generation: int
    step: int
    path: str
    index_json: str
    recipe_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """One generation as one rank sees it."""

    generation: int
    rank: int
    world_size: int
    block_map: BlockMap
    lanes: tuple[LaneRange, ...]
    source: StateSource
    store_host: str
    store_port: int
    store_prefix: str
    save_every_steps: int
    total_steps: int
    collective_timeout_seconds: float
    recorded_step: int = 0
    """Steps the journal of the control plane holds; what came after is told again."""
    snapshot_every_steps: int = 0
    """0: no snapshots are taken."""
    snapshot_map: BlockMap | None = None
    """Which ranks copy which block into their agent's memory; None: nobody does."""
    snapshot_files: tuple[SnapshotFile, ...] = ()
    """What the own agent keeps of the snapshot this generation starts from."""
    leavers: int = 0
    """Ranks after those of the world: they connect for the transfer, give away their blocks and leave."""

    @property
    def leaves(self) -> bool:
        """This rank is one of the leavers."""
        return self.rank >= self.world_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a rank holds, as it tells the control plane."""

    generation: int
    rank: int
    version: int
    """Steps applied to every held block."""
    pending: bool
    """Step version + 1 passed its commit point here and is not applied yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a rank really has after it joined a generation; the control plane checks it against the map."""

    owned_blocks: int
    replica_blocks: int
    optimizer_bytes: int
    received_bytes: int
    sent_bytes: int
    version: int
    owned_crc32c: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOutcome:
    lane: int
    loss_sum: float
    example_ids: tuple[int, ...]
    trained_tokens: int
    processed_tokens: int
    """Of the rows as the data has them, padding included, whether the recipe computes all of them or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """One optimizer step of the whole job, as one rank saw it. `step` counts it among the steps done."""

    step: int
    lanes: tuple[LaneOutcome, ...]
    loss: float
    grad_norm: float
    learning_rate: float
    seconds: float
    sections: dict[str, float]
    """Seconds of data, forward_backward, reduce, optimizer, gather, other."""
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """Owned blocks copied out of the rank, waiting for the agent to write them."""

    step: int
    trigger: str
    path: str
    index_json: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Copies of blocks in memory that the agent takes over."""

    generation: int
    step: int
    rank: int
    path: str
    """Of an open file of this process: /proc/PID/fd/N."""
    index_json: str
    bytes: int
    recipe_sha256: str
    complete_step: int
    """The newest step before this one of which every rank has taken its snapshot; 0: none."""
