import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SaveKey(_message.Message):
    __slots__ = ("run", "step", "generation", "save_id")
    RUN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TRY_FIELD_NUMBER: _ClassVar[int]
    SAVE_ID_FIELD_NUMBER: _ClassVar[int]
    run: str
    step: int
    generation: int
    save_id: str
    def __init__(self, run: _Optional[str] = ..., step: _Optional[int] = ..., generation: _Optional[int] = ..., save_id: _Optional[str] = ..., **kwargs) -> None: ...

class WriterPrepared(_message.Message):
    __slots__ = ("writer", "incarnation", "manifest_path", "manifest_sha256", "bytes")
    WRITER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_PATH_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    writer: int
    incarnation: int
    manifest_path: str
    manifest_sha256: str
    bytes: int
    def __init__(self, writer: _Optional[int] = ..., incarnation: _Optional[int] = ..., manifest_path: _Optional[str] = ..., manifest_sha256: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class CheckpointSummary(_message.Message):
    __slots__ = ("run", "commit", "step", "generation", "trigger", "created_time", "bytes", "world_size", "merkle", "state_digest", "status", "path")
    RUN_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    CREATED_TIME_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    WORLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    MERKLE_FIELD_NUMBER: _ClassVar[int]
    STATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    run: str
    commit: str
    step: int
    generation: int
    trigger: str
    created_time: _timestamp_pb2.Timestamp
    bytes: int
    world_size: int
    merkle: str
    state_digest: str
    status: str
    path: str
    def __init__(self, run: _Optional[str] = ..., commit: _Optional[str] = ..., step: _Optional[int] = ..., generation: _Optional[int] = ..., trigger: _Optional[str] = ..., created_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bytes: _Optional[int] = ..., world_size: _Optional[int] = ..., merkle: _Optional[str] = ..., state_digest: _Optional[str] = ..., status: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...
