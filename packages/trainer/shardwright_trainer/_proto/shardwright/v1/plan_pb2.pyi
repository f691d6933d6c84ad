from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemoryBytes(_message.Message):
    __slots__ = ("weights_bytes", "gradients_bytes", "optimizer_bytes", "replicas_bytes", "activations_bytes", "logits_bytes", "transients_bytes", "context_bytes", "slack_bytes")
    WEIGHTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_BYTES_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_BYTES_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOGITS_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRANSIENTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SLACK_BYTES_FIELD_NUMBER: _ClassVar[int]
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    replicas_bytes: int
    activations_bytes: int
    logits_bytes: int
    transients_bytes: int
    context_bytes: int
    slack_bytes: int
    def __init__(self, weights_bytes: _Optional[int] = ..., gradients_bytes: _Optional[int] = ..., optimizer_bytes: _Optional[int] = ..., replicas_bytes: _Optional[int] = ..., activations_bytes: _Optional[int] = ..., logits_bytes: _Optional[int] = ..., transients_bytes: _Optional[int] = ..., context_bytes: _Optional[int] = ..., slack_bytes: _Optional[int] = ...) -> None: ...

class Recipe(_message.Message):
    __slots__ = ("compute_dtype", "wire_dtype", "lanes_count", "micro_batches_per_lane_count", "micro_batch_rows_count", "row_tokens_count", "cross_entropy_rows_count", "attention", "threads_per_rank_count", "optimizer_implementation", "gradient_checkpointing", "device_type", "computed_tokens")
    COMPUTE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    WIRE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    LANES_COUNT_FIELD_NUMBER: _ClassVar[int]
    MICRO_BATCHES_PER_LANE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MICRO_BATCH_ROWS_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_TOKENS_COUNT_FIELD_NUMBER: _ClassVar[int]
    CROSS_ENTROPY_ROWS_COUNT_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    THREADS_PER_RANK_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_IMPLEMENTATION_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_CHECKPOINTING_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    compute_dtype: str
    wire_dtype: str
    lanes_count: int
    micro_batches_per_lane_count: int
    micro_batch_rows_count: int
    row_tokens_count: int
    cross_entropy_rows_count: int
    attention: str
    threads_per_rank_count: int
    optimizer_implementation: str
    gradient_checkpointing: str
    device_type: str
    computed_tokens: str
    def __init__(self, compute_dtype: _Optional[str] = ..., wire_dtype: _Optional[str] = ..., lanes_count: _Optional[int] = ..., micro_batches_per_lane_count: _Optional[int] = ..., micro_batch_rows_count: _Optional[int] = ..., row_tokens_count: _Optional[int] = ..., cross_entropy_rows_count: _Optional[int] = ..., attention: _Optional[str] = ..., threads_per_rank_count: _Optional[int] = ..., optimizer_implementation: _Optional[str] = ..., gradient_checkpointing: _Optional[str] = ..., device_type: _Optional[str] = ..., computed_tokens: _Optional[str] = ...) -> None: ...

class RejectedAlternative(_message.Message):
    __slots__ = ("what", "code", "sentence")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    what: str
    code: str
    sentence: str
    def __init__(self, what: _Optional[str] = ..., code: _Optional[str] = ..., sentence: _Optional[str] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("zero_stage", "ranks_count", "members_count", "ranks_per_member_count", "block_elements_count", "trainable_elements_count", "copies_count", "recipe", "memory", "peak_bytes_predicted", "device_bytes", "step_seconds_predicted", "total_steps_predicted", "hours_predicted", "rejected", "explanation", "warnings", "save_every_steps_count", "fits", "snapshot_every_steps_count")
    ZERO_STAGE_FIELD_NUMBER: _ClassVar[int]
    RANKS_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_COUNT_FIELD_NUMBER: _ClassVar[int]
    RANKS_PER_MEMBER_COUNT_FIELD_NUMBER: _ClassVar[int]
    BLOCK_ELEMENTS_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRAINABLE_ELEMENTS_COUNT_FIELD_NUMBER: _ClassVar[int]
    COPIES_COUNT_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    PEAK_BYTES_PREDICTED_FIELD_NUMBER: _ClassVar[int]
    DEVICE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STEP_SECONDS_PREDICTED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_PREDICTED_FIELD_NUMBER: _ClassVar[int]
    HOURS_PREDICTED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SAVE_EVERY_STEPS_COUNT_FIELD_NUMBER: _ClassVar[int]
    FITS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_EVERY_STEPS_COUNT_FIELD_NUMBER: _ClassVar[int]
    zero_stage: int
    ranks_count: int
    members_count: int
    ranks_per_member_count: int
    block_elements_count: int
    trainable_elements_count: int
    copies_count: int
    recipe: Recipe
    memory: MemoryBytes
    peak_bytes_predicted: int
    device_bytes: int
    step_seconds_predicted: float
    total_steps_predicted: int
    hours_predicted: float
    rejected: _containers.RepeatedCompositeFieldContainer[RejectedAlternative]
    explanation: _containers.RepeatedScalarFieldContainer[str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    save_every_steps_count: int
    fits: bool
    snapshot_every_steps_count: int
    def __init__(self, zero_stage: _Optional[int] = ..., ranks_count: _Optional[int] = ..., members_count: _Optional[int] = ..., ranks_per_member_count: _Optional[int] = ..., block_elements_count: _Optional[int] = ..., trainable_elements_count: _Optional[int] = ..., copies_count: _Optional[int] = ..., recipe: _Optional[_Union[Recipe, _Mapping]] = ..., memory: _Optional[_Union[MemoryBytes, _Mapping]] = ..., peak_bytes_predicted: _Optional[int] = ..., device_bytes: _Optional[int] = ..., step_seconds_predicted: _Optional[float] = ..., total_steps_predicted: _Optional[int] = ..., hours_predicted: _Optional[float] = ..., rejected: _Optional[_Iterable[_Union[RejectedAlternative, _Mapping]]] = ..., explanation: _Optional[_Iterable[str]] = ..., warnings: _Optional[_Iterable[str]] = ..., save_every_steps_count: _Optional[int] = ..., fits: _Optional[bool] = ..., snapshot_every_steps_count: _Optional[int] = ...) -> None: ...

class BlockRun(_message.Message):
    __slots__ = ("first_block", "blocks_count", "holders")
    FIRST_BLOCK_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_COUNT_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    first_block: int
    blocks_count: int
    holders: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, first_block: _Optional[int] = ..., blocks_count: _Optional[int] = ..., holders: _Optional[_Iterable[int]] = ...) -> None: ...

class BlockMap(_message.Message):
    __slots__ = ("elements_count", "block_elements_count", "blocks_count", "runs")
    ELEMENTS_COUNT_FIELD_NUMBER: _ClassVar[int]
    BLOCK_ELEMENTS_COUNT_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_COUNT_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    elements_count: int
    block_elements_count: int
    blocks_count: int
    runs: _containers.RepeatedCompositeFieldContainer[BlockRun]
    def __init__(self, elements_count: _Optional[int] = ..., block_elements_count: _Optional[int] = ..., blocks_count: _Optional[int] = ..., runs: _Optional[_Iterable[_Union[BlockRun, _Mapping]]] = ...) -> None: ...

class LaneRange(_message.Message):
    __slots__ = ("rank", "lane_begin", "lane_end")
    RANK_FIELD_NUMBER: _ClassVar[int]
    LANE_BEGIN_FIELD_NUMBER: _ClassVar[int]
    LANE_END_FIELD_NUMBER: _ClassVar[int]
    rank: int
    lane_begin: int
    lane_end: int
    def __init__(self, rank: _Optional[int] = ..., lane_begin: _Optional[int] = ..., lane_end: _Optional[int] = ...) -> None: ...

class FlatTensor(_message.Message):
    __slots__ = ("fqn", "shape", "begin", "end")
    FQN_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    fqn: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    begin: int
    end: int
    def __init__(self, fqn: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., begin: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class FlatLayout(_message.Message):
    __slots__ = ("tensors", "elements_count", "fingerprint")
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    ELEMENTS_COUNT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    tensors: _containers.RepeatedCompositeFieldContainer[FlatTensor]
    elements_count: int
    fingerprint: str
    def __init__(self, tensors: _Optional[_Iterable[_Union[FlatTensor, _Mapping]]] = ..., elements_count: _Optional[int] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class TransferMove(_message.Message):
    __slots__ = ("id", "first_block", "blocks_count", "source_rank", "target_rank", "bytes")
    ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_BLOCK_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_COUNT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_RANK_FIELD_NUMBER: _ClassVar[int]
    TARGET_RANK_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    id: int
    first_block: int
    blocks_count: int
    source_rank: int
    target_rank: int
    bytes: int
    def __init__(self, id: _Optional[int] = ..., first_block: _Optional[int] = ..., blocks_count: _Optional[int] = ..., source_rank: _Optional[int] = ..., target_rank: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class TransferPlan(_message.Message):
    __slots__ = ("source_generation", "target_generation", "moves", "total_bytes")
    SOURCE_GENERATION_FIELD_NUMBER: _ClassVar[int]
    TARGET_GENERATION_FIELD_NUMBER: _ClassVar[int]
    MOVES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    source_generation: int
    target_generation: int
    moves: _containers.RepeatedCompositeFieldContainer[TransferMove]
    total_bytes: int
    def __init__(self, source_generation: _Optional[int] = ..., target_generation: _Optional[int] = ..., moves: _Optional[_Iterable[_Union[TransferMove, _Mapping]]] = ..., total_bytes: _Optional[int] = ...) -> None: ...
