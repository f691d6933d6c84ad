from shardwright_trainer._proto.shardwright.v1 import checkpoint_pb2 as _checkpoint_pb2
from shardwright_trainer._proto.shardwright.v1 import plan_pb2 as _plan_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SessionRequest(_message.Message):
    __slots__ = ("generation", "hello", "loading", "loaded", "ready", "generation_failed", "beat", "step", "rank_exit", "save_staged", "prepared", "save_failed", "interrupted", "finished", "logs", "leaving", "snapshots_held")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    LOADING_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FAILED_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RANK_EXIT_FIELD_NUMBER: _ClassVar[int]
    SAVE_STAGED_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    SAVE_FAILED_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_HELD_FIELD_NUMBER: _ClassVar[int]
    generation: int
    hello: Hello
    loading: Loading
    loaded: Loaded
    ready: GenerationReady
    generation_failed: GenerationFailed
    beat: Beat
    step: StepReport
    rank_exit: RankExit
    save_staged: SaveStaged
    prepared: WriterPreparedReport
    save_failed: SaveFailed
    interrupted: Interrupted
    finished: Finished
    logs: LogLines
    leaving: Leaving
    snapshots_held: SnapshotsHeld
    def __init__(self, generation: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., loading: _Optional[_Union[Loading, _Mapping]] = ..., loaded: _Optional[_Union[Loaded, _Mapping]] = ..., ready: _Optional[_Union[GenerationReady, _Mapping]] = ..., generation_failed: _Optional[_Union[GenerationFailed, _Mapping]] = ..., beat: _Optional[_Union[Beat, _Mapping]] = ..., step: _Optional[_Union[StepReport, _Mapping]] = ..., rank_exit: _Optional[_Union[RankExit, _Mapping]] = ..., save_staged: _Optional[_Union[SaveStaged, _Mapping]] = ..., prepared: _Optional[_Union[WriterPreparedReport, _Mapping]] = ..., save_failed: _Optional[_Union[SaveFailed, _Mapping]] = ..., interrupted: _Optional[_Union[Interrupted, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., logs: _Optional[_Union[LogLines, _Mapping]] = ..., leaving: _Optional[_Union[Leaving, _Mapping]] = ..., snapshots_held: _Optional[_Union[SnapshotsHeld, _Mapping]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("generation", "load", "prepare", "commit", "discard", "ack_steps", "persist", "save_decided", "stop", "restart_rank")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    DISCARD_FIELD_NUMBER: _ClassVar[int]
    ACK_STEPS_FIELD_NUMBER: _ClassVar[int]
    PERSIST_FIELD_NUMBER: _ClassVar[int]
    SAVE_DECIDED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    RESTART_RANK_FIELD_NUMBER: _ClassVar[int]
    generation: int
    load: Load
    prepare: PrepareGeneration
    commit: CommitGeneration
    discard: DiscardGeneration
    ack_steps: AckSteps
    persist: Persist
    save_decided: SaveDecided
    stop: Stop
    restart_rank: RestartRank
    def __init__(self, generation: _Optional[int] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., prepare: _Optional[_Union[PrepareGeneration, _Mapping]] = ..., commit: _Optional[_Union[CommitGeneration, _Mapping]] = ..., discard: _Optional[_Union[DiscardGeneration, _Mapping]] = ..., ack_steps: _Optional[_Union[AckSteps, _Mapping]] = ..., persist: _Optional[_Union[Persist, _Mapping]] = ..., save_decided: _Optional[_Union[SaveDecided, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., restart_rank: _Optional[_Union[RestartRank, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("job_uid", "member", "incarnation", "pid", "node", "device_type", "device_bytes", "cores_count", "trainer_version", "torch_version", "holdings", "running_generation", "loaded", "staged_steps")
    JOB_UID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CORES_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRAINER_VERSION_FIELD_NUMBER: _ClassVar[int]
    TORCH_VERSION_FIELD_NUMBER: _ClassVar[int]
    HOLDINGS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_GENERATION_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    STAGED_STEPS_FIELD_NUMBER: _ClassVar[int]
    job_uid: str
    member: str
    incarnation: int
    pid: int
    node: str
    device_type: str
    device_bytes: int
    cores_count: int
    trainer_version: str
    torch_version: str
    holdings: _containers.RepeatedCompositeFieldContainer[RankHolding]
    running_generation: int
    loaded: bool
    staged_steps: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, job_uid: _Optional[str] = ..., member: _Optional[str] = ..., incarnation: _Optional[int] = ..., pid: _Optional[int] = ..., node: _Optional[str] = ..., device_type: _Optional[str] = ..., device_bytes: _Optional[int] = ..., cores_count: _Optional[int] = ..., trainer_version: _Optional[str] = ..., torch_version: _Optional[str] = ..., holdings: _Optional[_Iterable[_Union[RankHolding, _Mapping]]] = ..., running_generation: _Optional[int] = ..., loaded: _Optional[bool] = ..., staged_steps: _Optional[_Iterable[int]] = ...) -> None: ...

class RankHolding(_message.Message):
    __slots__ = ("local_rank", "pid", "generation", "rank", "version", "pending")
    LOCAL_RANK_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    local_rank: int
    pid: int
    generation: int
    rank: int
    version: int
    pending: bool
    def __init__(self, local_rank: _Optional[int] = ..., pid: _Optional[int] = ..., generation: _Optional[int] = ..., rank: _Optional[int] = ..., version: _Optional[int] = ..., pending: _Optional[bool] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("job_name", "spec_json", "plan", "work_directory", "ranks_count", "slot")
    JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    WORK_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    RANKS_COUNT_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    job_name: str
    spec_json: str
    plan: _plan_pb2.Plan
    work_directory: str
    ranks_count: int
    slot: int
    def __init__(self, job_name: _Optional[str] = ..., spec_json: _Optional[str] = ..., plan: _Optional[_Union[_plan_pb2.Plan, _Mapping]] = ..., work_directory: _Optional[str] = ..., ranks_count: _Optional[int] = ..., slot: _Optional[int] = ...) -> None: ...

class Loading(_message.Message):
    __slots__ = ("phase", "done_ratio", "detail")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_RATIO_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    phase: str
    done_ratio: float
    detail: str
    def __init__(self, phase: _Optional[str] = ..., done_ratio: _Optional[float] = ..., detail: _Optional[str] = ...) -> None: ...

class DataFacts(_message.Message):
    __slots__ = ("digest", "examples_count", "rows_count", "tokens_count", "trained_tokens_count", "row_tokens_max", "total_steps", "steps_per_epoch", "warnings")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROWS_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRAINED_TOKENS_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_TOKENS_MAX_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    digest: str
    examples_count: int
    rows_count: int
    tokens_count: int
    trained_tokens_count: int
    row_tokens_max: int
    total_steps: int
    steps_per_epoch: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, digest: _Optional[str] = ..., examples_count: _Optional[int] = ..., rows_count: _Optional[int] = ..., tokens_count: _Optional[int] = ..., trained_tokens_count: _Optional[int] = ..., row_tokens_max: _Optional[int] = ..., total_steps: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Loaded(_message.Message):
    __slots__ = ("layout", "data", "recipe_sha256", "ranks", "external_json", "lora_json", "rss_bytes", "template_json")
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    RECIPE_SHA256_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_JSON_FIELD_NUMBER: _ClassVar[int]
    LORA_JSON_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_JSON_FIELD_NUMBER: _ClassVar[int]
    layout: _plan_pb2.FlatLayout
    data: DataFacts
    recipe_sha256: str
    ranks: _containers.RepeatedCompositeFieldContainer[RankHolding]
    external_json: str
    lora_json: str
    rss_bytes: int
    template_json: str
    def __init__(self, layout: _Optional[_Union[_plan_pb2.FlatLayout, _Mapping]] = ..., data: _Optional[_Union[DataFacts, _Mapping]] = ..., recipe_sha256: _Optional[str] = ..., ranks: _Optional[_Iterable[_Union[RankHolding, _Mapping]]] = ..., external_json: _Optional[str] = ..., lora_json: _Optional[str] = ..., rss_bytes: _Optional[int] = ..., template_json: _Optional[str] = ...) -> None: ...

class GenerationMember(_message.Message):
    __slots__ = ("member", "slot", "first_rank", "ranks_count", "local_ranks")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    FIRST_RANK_FIELD_NUMBER: _ClassVar[int]
    RANKS_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOCAL_RANKS_FIELD_NUMBER: _ClassVar[int]
    member: str
    slot: int
    first_rank: int
    ranks_count: int
    local_ranks: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, member: _Optional[str] = ..., slot: _Optional[int] = ..., first_rank: _Optional[int] = ..., ranks_count: _Optional[int] = ..., local_ranks: _Optional[_Iterable[int]] = ...) -> None: ...

class PrepareGeneration(_message.Message):
    __slots__ = ("members", "world_size", "block_map", "lanes", "source", "store_host", "store_port", "store_prefix", "save_every_steps_count", "total_steps", "collective_timeout_seconds", "recorded_step", "snapshot_every_steps_count", "snapshot_map", "leavers_count")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    WORLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_MAP_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    STORE_HOST_FIELD_NUMBER: _ClassVar[int]
    STORE_PORT_FIELD_NUMBER: _ClassVar[int]
    STORE_PREFIX_FIELD_NUMBER: _ClassVar[int]
    SAVE_EVERY_STEPS_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    COLLECTIVE_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RECORDED_STEP_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_EVERY_STEPS_COUNT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_MAP_FIELD_NUMBER: _ClassVar[int]
    LEAVERS_COUNT_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[GenerationMember]
    world_size: int
    block_map: _plan_pb2.BlockMap
    lanes: _containers.RepeatedCompositeFieldContainer[_plan_pb2.LaneRange]
    source: StateSource
    store_host: str
    store_port: int
    store_prefix: str
    save_every_steps_count: int
    total_steps: int
    collective_timeout_seconds: float
    recorded_step: int
    snapshot_every_steps_count: int
    snapshot_map: _plan_pb2.BlockMap
    leavers_count: int
    def __init__(self, members: _Optional[_Iterable[_Union[GenerationMember, _Mapping]]] = ..., world_size: _Optional[int] = ..., block_map: _Optional[_Union[_plan_pb2.BlockMap, _Mapping]] = ..., lanes: _Optional[_Iterable[_Union[_plan_pb2.LaneRange, _Mapping]]] = ..., source: _Optional[_Union[StateSource, _Mapping]] = ..., store_host: _Optional[str] = ..., store_port: _Optional[int] = ..., store_prefix: _Optional[str] = ..., save_every_steps_count: _Optional[int] = ..., total_steps: _Optional[int] = ..., collective_timeout_seconds: _Optional[float] = ..., recorded_step: _Optional[int] = ..., snapshot_every_steps_count: _Optional[int] = ..., snapshot_map: _Optional[_Union[_plan_pb2.BlockMap, _Mapping]] = ..., leavers_count: _Optional[int] = ...) -> None: ...

class StateSource(_message.Message):
    __slots__ = ("fresh", "live", "checkpoint", "snapshot")
    FRESH_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    fresh: FreshSource
    live: LiveSource
    checkpoint: CheckpointSource
    snapshot: SnapshotSource
    def __init__(self, fresh: _Optional[_Union[FreshSource, _Mapping]] = ..., live: _Optional[_Union[LiveSource, _Mapping]] = ..., checkpoint: _Optional[_Union[CheckpointSource, _Mapping]] = ..., snapshot: _Optional[_Union[SnapshotSource, _Mapping]] = ...) -> None: ...

class FreshSource(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LiveSource(_message.Message):
    __slots__ = ("target_version", "transfer")
    TARGET_VERSION_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    target_version: int
    transfer: _plan_pb2.TransferPlan
    def __init__(self, target_version: _Optional[int] = ..., transfer: _Optional[_Union[_plan_pb2.TransferPlan, _Mapping]] = ...) -> None: ...

class CheckpointSource(_message.Message):
    __slots__ = ("run_directory", "commit", "step")
    RUN_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    run_directory: str
    commit: str
    step: int
    def __init__(self, run_directory: _Optional[str] = ..., commit: _Optional[str] = ..., step: _Optional[int] = ...) -> None: ...

class SnapshotSource(_message.Message):
    __slots__ = ("generation", "step", "transfer")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    generation: int
    step: int
    transfer: _plan_pb2.TransferPlan
    def __init__(self, generation: _Optional[int] = ..., step: _Optional[int] = ..., transfer: _Optional[_Union[_plan_pb2.TransferPlan, _Mapping]] = ...) -> None: ...

class BlockSpan(_message.Message):
    __slots__ = ("first_block", "blocks_count")
    FIRST_BLOCK_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_COUNT_FIELD_NUMBER: _ClassVar[int]
    first_block: int
    blocks_count: int
    def __init__(self, first_block: _Optional[int] = ..., blocks_count: _Optional[int] = ...) -> None: ...

class SnapshotHolding(_message.Message):
    __slots__ = ("generation", "step", "blocks", "bytes")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    generation: int
    step: int
    blocks: _containers.RepeatedCompositeFieldContainer[BlockSpan]
    bytes: int
    def __init__(self, generation: _Optional[int] = ..., step: _Optional[int] = ..., blocks: _Optional[_Iterable[_Union[BlockSpan, _Mapping]]] = ..., bytes: _Optional[int] = ...) -> None: ...

class SnapshotsHeld(_message.Message):
    __slots__ = ("snapshots",)
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[SnapshotHolding]
    def __init__(self, snapshots: _Optional[_Iterable[_Union[SnapshotHolding, _Mapping]]] = ...) -> None: ...

class RankEvidence(_message.Message):
    __slots__ = ("rank", "owned_blocks_count", "replica_blocks_count", "optimizer_bytes", "received_bytes", "sent_bytes", "version", "owned_crc32c")
    RANK_FIELD_NUMBER: _ClassVar[int]
    OWNED_BLOCKS_COUNT_FIELD_NUMBER: _ClassVar[int]
    REPLICA_BLOCKS_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OWNED_CRC32C_FIELD_NUMBER: _ClassVar[int]
    rank: int
    owned_blocks_count: int
    replica_blocks_count: int
    optimizer_bytes: int
    received_bytes: int
    sent_bytes: int
    version: int
    owned_crc32c: int
    def __init__(self, rank: _Optional[int] = ..., owned_blocks_count: _Optional[int] = ..., replica_blocks_count: _Optional[int] = ..., optimizer_bytes: _Optional[int] = ..., received_bytes: _Optional[int] = ..., sent_bytes: _Optional[int] = ..., version: _Optional[int] = ..., owned_crc32c: _Optional[int] = ...) -> None: ...

class GenerationReady(_message.Message):
    __slots__ = ("ranks", "seconds")
    RANKS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ranks: _containers.RepeatedCompositeFieldContainer[RankEvidence]
    seconds: float
    def __init__(self, ranks: _Optional[_Iterable[_Union[RankEvidence, _Mapping]]] = ..., seconds: _Optional[float] = ...) -> None: ...

class GenerationFailed(_message.Message):
    __slots__ = ("code", "sentence")
    CODE_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    code: str
    sentence: str
    def __init__(self, code: _Optional[str] = ..., sentence: _Optional[str] = ...) -> None: ...

class CommitGeneration(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class DiscardGeneration(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Beat(_message.Message):
    __slots__ = ("ranks",)
    RANKS_FIELD_NUMBER: _ClassVar[int]
    ranks: _containers.RepeatedCompositeFieldContainer[RankBeat]
    def __init__(self, ranks: _Optional[_Iterable[_Union[RankBeat, _Mapping]]] = ...) -> None: ...

class RankBeat(_message.Message):
    __slots__ = ("local_rank", "step", "phase", "rss_bytes", "silent_ms")
    LOCAL_RANK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    SILENT_MS_FIELD_NUMBER: _ClassVar[int]
    local_rank: int
    step: int
    phase: str
    rss_bytes: int
    silent_ms: int
    def __init__(self, local_rank: _Optional[int] = ..., step: _Optional[int] = ..., phase: _Optional[str] = ..., rss_bytes: _Optional[int] = ..., silent_ms: _Optional[int] = ...) -> None: ...

class LaneReport(_message.Message):
    __slots__ = ("lane", "loss_sum", "example_ids", "trained_tokens_count", "processed_tokens_count")
    LANE_FIELD_NUMBER: _ClassVar[int]
    LOSS_SUM_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_IDS_FIELD_NUMBER: _ClassVar[int]
    TRAINED_TOKENS_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROCESSED_TOKENS_COUNT_FIELD_NUMBER: _ClassVar[int]
    lane: int
    loss_sum: float
    example_ids: _containers.RepeatedScalarFieldContainer[int]
    trained_tokens_count: int
    processed_tokens_count: int
    def __init__(self, lane: _Optional[int] = ..., loss_sum: _Optional[float] = ..., example_ids: _Optional[_Iterable[int]] = ..., trained_tokens_count: _Optional[int] = ..., processed_tokens_count: _Optional[int] = ...) -> None: ...

class StepReport(_message.Message):
    __slots__ = ("step", "rank", "lanes", "loss", "grad_norm", "learning_rate", "seconds", "sections", "rss_bytes", "sent_bytes", "stall_seconds")
    STEP_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    STALL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    step: int
    rank: int
    lanes: _containers.RepeatedCompositeFieldContainer[LaneReport]
    loss: float
    grad_norm: float
    learning_rate: float
    seconds: float
    sections: SectionSeconds
    rss_bytes: int
    sent_bytes: int
    stall_seconds: float
    def __init__(self, step: _Optional[int] = ..., rank: _Optional[int] = ..., lanes: _Optional[_Iterable[_Union[LaneReport, _Mapping]]] = ..., loss: _Optional[float] = ..., grad_norm: _Optional[float] = ..., learning_rate: _Optional[float] = ..., seconds: _Optional[float] = ..., sections: _Optional[_Union[SectionSeconds, _Mapping]] = ..., rss_bytes: _Optional[int] = ..., sent_bytes: _Optional[int] = ..., stall_seconds: _Optional[float] = ...) -> None: ...

class SectionSeconds(_message.Message):
    __slots__ = ("data", "forward_backward", "reduce", "optimizer", "gather", "other")
    DATA_FIELD_NUMBER: _ClassVar[int]
    FORWARD_BACKWARD_FIELD_NUMBER: _ClassVar[int]
    REDUCE_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    GATHER_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    data: float
    forward_backward: float
    reduce: float
    optimizer: float
    gather: float
    other: float
    def __init__(self, data: _Optional[float] = ..., forward_backward: _Optional[float] = ..., reduce: _Optional[float] = ..., optimizer: _Optional[float] = ..., gather: _Optional[float] = ..., other: _Optional[float] = ...) -> None: ...

class AckSteps(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class RankExit(_message.Message):
    __slots__ = ("local_rank", "pid", "status", "cause", "sentence", "respawning")
    LOCAL_RANK_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    RESPAWNING_FIELD_NUMBER: _ClassVar[int]
    local_rank: int
    pid: int
    status: int
    cause: str
    sentence: str
    respawning: bool
    def __init__(self, local_rank: _Optional[int] = ..., pid: _Optional[int] = ..., status: _Optional[int] = ..., cause: _Optional[str] = ..., sentence: _Optional[str] = ..., respawning: _Optional[bool] = ...) -> None: ...

class RestartRank(_message.Message):
    __slots__ = ("local_rank", "reason")
    LOCAL_RANK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    local_rank: int
    reason: str
    def __init__(self, local_rank: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Interrupted(_message.Message):
    __slots__ = ("ranks", "sentence")
    RANKS_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    ranks: _containers.RepeatedCompositeFieldContainer[RankHolding]
    sentence: str
    def __init__(self, ranks: _Optional[_Iterable[_Union[RankHolding, _Mapping]]] = ..., sentence: _Optional[str] = ...) -> None: ...

class SaveStaged(_message.Message):
    __slots__ = ("step", "trigger", "bytes", "writers")
    STEP_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITERS_FIELD_NUMBER: _ClassVar[int]
    step: int
    trigger: str
    bytes: int
    writers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, step: _Optional[int] = ..., trigger: _Optional[str] = ..., bytes: _Optional[int] = ..., writers: _Optional[_Iterable[int]] = ...) -> None: ...

class Persist(_message.Message):
    __slots__ = ("key", "directory", "schema_sha256", "schema_json", "crc_block_bytes")
    KEY_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_SHA256_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    CRC_BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    key: _checkpoint_pb2.SaveKey
    directory: str
    schema_sha256: str
    schema_json: str
    crc_block_bytes: int
    def __init__(self, key: _Optional[_Union[_checkpoint_pb2.SaveKey, _Mapping]] = ..., directory: _Optional[str] = ..., schema_sha256: _Optional[str] = ..., schema_json: _Optional[str] = ..., crc_block_bytes: _Optional[int] = ...) -> None: ...

class WriterPreparedReport(_message.Message):
    __slots__ = ("key", "prepared")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    key: _checkpoint_pb2.SaveKey
    prepared: _checkpoint_pb2.WriterPrepared
    def __init__(self, key: _Optional[_Union[_checkpoint_pb2.SaveKey, _Mapping]] = ..., prepared: _Optional[_Union[_checkpoint_pb2.WriterPrepared, _Mapping]] = ...) -> None: ...

class SaveFailed(_message.Message):
    __slots__ = ("key", "writer", "code", "message")
    KEY_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    key: _checkpoint_pb2.SaveKey
    writer: int
    code: str
    message: str
    def __init__(self, key: _Optional[_Union[_checkpoint_pb2.SaveKey, _Mapping]] = ..., writer: _Optional[int] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class SaveDecided(_message.Message):
    __slots__ = ("key", "status")
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    key: _checkpoint_pb2.SaveKey
    status: str
    def __init__(self, key: _Optional[_Union[_checkpoint_pb2.SaveKey, _Mapping]] = ..., status: _Optional[str] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("why",)
    WHY_FIELD_NUMBER: _ClassVar[int]
    why: str
    def __init__(self, why: _Optional[str] = ...) -> None: ...

class Leaving(_message.Message):
    __slots__ = ("why",)
    WHY_FIELD_NUMBER: _ClassVar[int]
    why: str
    def __init__(self, why: _Optional[str] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("time_unix_ms", "rank", "level", "text")
    TIME_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    time_unix_ms: int
    rank: int
    level: str
    text: str
    def __init__(self, time_unix_ms: _Optional[int] = ..., rank: _Optional[int] = ..., level: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class LogLines(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    def __init__(self, lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ...) -> None: ...
