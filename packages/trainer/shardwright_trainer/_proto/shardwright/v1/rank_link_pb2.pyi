from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as _agent_service_pb2
from shardwright_trainer._proto.shardwright.v1 import plan_pb2 as _plan_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RankDirective(_message.Message):
    __slots__ = ("generation", "start", "prepare", "commit", "discard", "stop", "staged_freed", "snapshots")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    DISCARD_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    STAGED_FREED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    start: RankStart
    prepare: _agent_service_pb2.PrepareGeneration
    commit: _agent_service_pb2.CommitGeneration
    discard: _agent_service_pb2.DiscardGeneration
    stop: _agent_service_pb2.Stop
    staged_freed: StagedFreed
    snapshots: _containers.RepeatedCompositeFieldContainer[RankSnapshot]
    def __init__(self, generation: _Optional[int] = ..., start: _Optional[_Union[RankStart, _Mapping]] = ..., prepare: _Optional[_Union[_agent_service_pb2.PrepareGeneration, _Mapping]] = ..., commit: _Optional[_Union[_agent_service_pb2.CommitGeneration, _Mapping]] = ..., discard: _Optional[_Union[_agent_service_pb2.DiscardGeneration, _Mapping]] = ..., stop: _Optional[_Union[_agent_service_pb2.Stop, _Mapping]] = ..., staged_freed: _Optional[_Union[StagedFreed, _Mapping]] = ..., snapshots: _Optional[_Iterable[_Union[RankSnapshot, _Mapping]]] = ...) -> None: ...

class RankMessage(_message.Message):
    __slots__ = ("generation", "hello", "loading", "loaded", "ready", "generation_failed", "beat", "step", "staged", "interrupted", "finished", "log", "fault", "snapshot")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    LOADING_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FAILED_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    generation: int
    hello: RankHello
    loading: _agent_service_pb2.Loading
    loaded: RankLoaded
    ready: RankReady
    generation_failed: _agent_service_pb2.GenerationFailed
    beat: _agent_service_pb2.RankBeat
    step: _agent_service_pb2.StepReport
    staged: RankStaged
    interrupted: _agent_service_pb2.RankHolding
    finished: _agent_service_pb2.Finished
    log: _agent_service_pb2.LogLine
    fault: RankFault
    snapshot: RankSnapshot
    def __init__(self, generation: _Optional[int] = ..., hello: _Optional[_Union[RankHello, _Mapping]] = ..., loading: _Optional[_Union[_agent_service_pb2.Loading, _Mapping]] = ..., loaded: _Optional[_Union[RankLoaded, _Mapping]] = ..., ready: _Optional[_Union[RankReady, _Mapping]] = ..., generation_failed: _Optional[_Union[_agent_service_pb2.GenerationFailed, _Mapping]] = ..., beat: _Optional[_Union[_agent_service_pb2.RankBeat, _Mapping]] = ..., step: _Optional[_Union[_agent_service_pb2.StepReport, _Mapping]] = ..., staged: _Optional[_Union[RankStaged, _Mapping]] = ..., interrupted: _Optional[_Union[_agent_service_pb2.RankHolding, _Mapping]] = ..., finished: _Optional[_Union[_agent_service_pb2.Finished, _Mapping]] = ..., log: _Optional[_Union[_agent_service_pb2.LogLine, _Mapping]] = ..., fault: _Optional[_Union[RankFault, _Mapping]] = ..., snapshot: _Optional[_Union[RankSnapshot, _Mapping]] = ...) -> None: ...

class RankHello(_message.Message):
    __slots__ = ("local_rank", "pid")
    LOCAL_RANK_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    local_rank: int
    pid: int
    def __init__(self, local_rank: _Optional[int] = ..., pid: _Optional[int] = ...) -> None: ...

class RankStart(_message.Message):
    __slots__ = ("job_name", "spec_json", "plan", "work_directory", "data_directory", "data", "model_directory")
    JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    WORK_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    DATA_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    job_name: str
    spec_json: str
    plan: _plan_pb2.Plan
    work_directory: str
    data_directory: str
    data: _agent_service_pb2.DataFacts
    model_directory: str
    def __init__(self, job_name: _Optional[str] = ..., spec_json: _Optional[str] = ..., plan: _Optional[_Union[_plan_pb2.Plan, _Mapping]] = ..., work_directory: _Optional[str] = ..., data_directory: _Optional[str] = ..., data: _Optional[_Union[_agent_service_pb2.DataFacts, _Mapping]] = ..., model_directory: _Optional[str] = ...) -> None: ...

class RankLoaded(_message.Message):
    __slots__ = ("layout", "recipe_sha256", "lora_json", "rss_bytes")
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    RECIPE_SHA256_FIELD_NUMBER: _ClassVar[int]
    LORA_JSON_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    layout: _plan_pb2.FlatLayout
    recipe_sha256: str
    lora_json: str
    rss_bytes: int
    def __init__(self, layout: _Optional[_Union[_plan_pb2.FlatLayout, _Mapping]] = ..., recipe_sha256: _Optional[str] = ..., lora_json: _Optional[str] = ..., rss_bytes: _Optional[int] = ...) -> None: ...

class RankReady(_message.Message):
    __slots__ = ("evidence", "seconds")
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    evidence: _agent_service_pb2.RankEvidence
    seconds: float
    def __init__(self, evidence: _Optional[_Union[_agent_service_pb2.RankEvidence, _Mapping]] = ..., seconds: _Optional[float] = ...) -> None: ...

class RankStaged(_message.Message):
    __slots__ = ("step", "trigger", "writer", "path", "index_json", "bytes")
    STEP_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INDEX_JSON_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    step: int
    trigger: str
    writer: int
    path: str
    index_json: str
    bytes: int
    def __init__(self, step: _Optional[int] = ..., trigger: _Optional[str] = ..., writer: _Optional[int] = ..., path: _Optional[str] = ..., index_json: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class RankSnapshot(_message.Message):
    __slots__ = ("generation", "step", "rank", "path", "index_json", "bytes", "recipe_sha256", "complete_step")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INDEX_JSON_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    RECIPE_SHA256_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_STEP_FIELD_NUMBER: _ClassVar[int]
    generation: int
    step: int
    rank: int
    path: str
    index_json: str
    bytes: int
    recipe_sha256: str
    complete_step: int
    def __init__(self, generation: _Optional[int] = ..., step: _Optional[int] = ..., rank: _Optional[int] = ..., path: _Optional[str] = ..., index_json: _Optional[str] = ..., bytes: _Optional[int] = ..., recipe_sha256: _Optional[str] = ..., complete_step: _Optional[int] = ...) -> None: ...

class StagedFreed(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class RankFault(_message.Message):
    __slots__ = ("cause", "code", "sentence")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    cause: str
    code: str
    sentence: str
    def __init__(self, cause: _Optional[str] = ..., code: _Optional[str] = ..., sentence: _Optional[str] = ...) -> None: ...
