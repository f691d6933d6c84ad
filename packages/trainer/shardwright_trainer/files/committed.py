"""A committed checkpoint, opened: record, schema, manifests, headers, each verified before it is believed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shardwright_trainer.files.canonical_json import parse_object, self_digest, sha256_name
from shardwright_trainer.files.crc import as_bytes, crc32c, is_crc_block
from shardwright_trainer.files.extents import check_coverage, extents_of
from shardwright_trainer.files.local_path import local_path
from shardwright_trainer.files.read_plan import Extent, Read
from shardwright_trainer.files.run_files import read_range, read_whole, size_of
from shardwright_trainer.files.safetensors_header import (
    HEADER_BYTES_MAX,
    Header,
    HeaderEntry,
    header_length,
    parse_header,
)
from shardwright_trainer.files.schema import SCHEMA_BYTES_MAX, Schema, parse_schema
from shardwright_trainer.files.swc_errors import CheckpointError

RECORD_BYTES_MAX = 16 * 1024 * 1024
VERSION = 1
COMMIT_KEY = re.compile(r"^\d{20}-\d{10}-\d{3}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One pack of a checkpoint with its verified CRC list."""

    path: str
    """Relative to the run's directory."""
    bytes: int
    crc_block_bytes: int
    checks: npt.NDArray[np.uint32]
    header: Header
    writer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    run_directory: str
    commit: str
    record: dict[str, Any]
    schema: Schema
    files: tuple[DataFile, ...]
    extents: tuple[Extent, ...]
    """Of the trainable space; together they cover every kind of every section exactly once."""

    def read(self, read: Read) -> int:
        """Reads one planned range, checks its CRC blocks, then fills the slices. Returns the bytes read."""
        file = self.files[read.file]
        data = as_bytes(read_range(self.run_directory, file.path, read.begin, read.end))
        check_blocks(file, read.begin, data)
        for part in read.slices:
            length = part.end - part.begin
            part.into[part.at : part.at + length] = data[part.begin - read.begin : part.end - read.begin]
        return read.end - read.begin


def open_committed(run_directory: str, commit: str) -> Committed:
    """Opens `commits/<commit>.json` of a run (a path or file:// address); CheckpointError if damaged."""
    run = local_path(run_directory)
    if not COMMIT_KEY.match(commit):
        raise CheckpointError(
            "SWC_BAD_RECORD", f'"{commit}" is not a commit key <step:020d>-<generation:010d>-<try:03d>'
        )
    _refuse_withdrawn(run, commit)
    record = _record(run, commit)
    schema_ref = record["schema"]
    schema_bytes = read_whole(run, schema_ref["path"], SCHEMA_BYTES_MAX)
    _check_digest(schema_ref["path"], sha256_name(schema_bytes), schema_ref["sha256"])
    schema = _parsed(schema_ref["path"], lambda: parse_schema(schema_bytes))
    files: list[DataFile] = []
    for writer in record["writers"]:
        files += _files_of(run, record, writer)
    extents = tuple(
        extent
        for number, file in enumerate(files)
        for extent in extents_of(number, file.path, file.header.entries, schema)
    )
    check_coverage(schema, extents)
    return Committed(
        run_directory=run, commit=commit, record=record, schema=schema, files=tuple(files), extents=extents
    )


def check_blocks(file: DataFile, begin: int, data: npt.NDArray[np.uint8]) -> None:
    """`data` starts at byte `begin`, a border of CRC blocks."""
    size = file.crc_block_bytes
    for at in range(0, len(data), size):
        block = data[at : at + size]
        index = (begin + at) // size
        found, expected = crc32c(block), int(file.checks[index])
        if found != expected:
            first, last = begin + at, begin + at + len(block)
            raise CheckpointError(
                "SWC_CORRUPT_BLOCK",
                f"{file.path}: CRC block {index} (bytes {first}..{last}): crc32c {found:08x}, "
                f"expected {expected:08x}; affects {_affected(file.header.entries, first, last)}",
            )


def _refuse_withdrawn(run: str, commit: str) -> None:
    for folder, code, word in (
        ("tombstones", "SWC_NO_CHECKPOINT", "retired"),
        ("quarantine", "SWC_QUARANTINED", "quarantined"),
    ):
        if os.path.lexists(os.path.join(run, folder, f"{commit}.json")):
            raise CheckpointError(code, f"{commit}: {word} ({folder}/{commit}.json); choose another commit")


def _record(run: str, commit: str) -> dict[str, Any]:
    path = f"commits/{commit}.json"
    record = read_object(run, path)
    if record.get("requires"):
        raise CheckpointError(
            "SWC_UNKNOWN_FEATURE",
            f'{path}: requires "{record["requires"][0]}", unknown to this version; nothing was changed',
        )
    if record.get("status") != "committed":
        raise CheckpointError(
            "SWC_NO_CHECKPOINT", f"{path}: this save was {record.get('status')}, not committed"
        )
    key = f"{record['step']:020d}-{record['generation']:010d}-{record['try']:03d}"
    if key != commit:
        raise CheckpointError("SWC_BAD_RECORD", f"{path}: the record is that of {key}")
    return record


def read_object(run: str, path: str) -> dict[str, Any]:
    """A JSON object of the run in canonical form, with a correct `self` and a version this reader knows."""
    value: dict[str, Any] = _parsed(path, lambda: parse_object(read_whole(run, path, RECORD_BYTES_MAX)))
    computed = self_digest(value)
    if value.get("self") != computed:
        raise CheckpointError(
            "SWC_BAD_RECORD",
            f"{path}: self digest mismatch (stored {value.get('self')}, computed {computed}); "
            "the record is torn or edited",
        )
    if value.get("swc") != VERSION:
        raise CheckpointError(
            "SWC_UNSUPPORTED_VERSION",
            f"{path}: format version {value.get('swc')}, newest supported is {VERSION}; upgrade Shardwright; "
            "nothing was changed",
        )
    return value


def _files_of(run: str, record: dict[str, Any], writer: dict[str, Any]) -> list[DataFile]:
    path = writer["manifest"]
    data = read_whole(run, path, RECORD_BYTES_MAX)
    _check_digest(path, sha256_name(data), writer["sha256"])
    manifest = read_object(run, path)
    for field in ("save_id", "step", "generation"):
        if manifest[field] != record[field]:
            raise CheckpointError(
                "SWC_BAD_RECORD", f"{path}: {field} is {manifest[field]}, the record says {record[field]}"
            )
    if manifest["schema"] != record["schema"]["sha256"]:
        raise CheckpointError("SWC_BAD_RECORD", f"{path}: made for another schema than the record's")
    headers = hashlib.sha256()
    files: list[DataFile] = []
    for entry in manifest["files"]:
        folder = f"data/{entry['from']}" if "from" in entry else os.path.dirname(path)
        file, text = _data_file(run, folder, entry, writer["id"])
        headers.update(text)
        files.append(file)
    _check_digest(path, f"sha256:{headers.hexdigest()}", manifest["entries_sha256"])
    return files


def _data_file(run: str, folder: str, entry: dict[str, Any], writer: int) -> tuple[DataFile, bytes]:
    path, crc_path = f"{folder}/{entry['path']}", f"{folder}/{entry['crc']['path']}"
    block = entry["crc"]["block"]
    if entry["crc"]["alg"] != "crc32c" or not is_crc_block(block):
        raise CheckpointError(
            "SWC_UNKNOWN_FEATURE",
            f'{path}: requires "{entry["crc"]["alg"]}/{block}", unknown to this version; nothing was changed',
        )
    size = size_of(run, path)
    if size != entry["bytes"]:
        raise CheckpointError("SWC_SIZE_MISMATCH", f"{path}: {size} bytes, manifest says {entry['bytes']}")
    crc_bytes_expected = 4 * -(-size // block)
    crc_bytes = read_whole(run, crc_path, crc_bytes_expected)
    if len(crc_bytes) != crc_bytes_expected:
        covered = len(crc_bytes) // 4 * block
        raise CheckpointError(
            "SWC_MISSING_CHECKSUM", f"{path}: no checksum for bytes {covered}..{size}; treated as corrupt"
        )
    _check_digest(crc_path, sha256_name(crc_bytes), entry["crc"]["sha256"])
    checks = np.frombuffer(crc_bytes, dtype="<u4")
    header, text = _header(run, path, entry, checks)
    file = DataFile(path=path, bytes=size, crc_block_bytes=block, checks=checks, header=header, writer=writer)
    return file, text


def _header(
    run: str, path: str, entry: dict[str, Any], checks: npt.NDArray[np.uint32]
) -> tuple[Header, bytes]:
    """The header blocks are checked first, then parsed: no length is believed that no checksum covers."""
    block, data_begin, size = entry["crc"]["block"], entry["header_bytes"], entry["bytes"]
    if not 8 <= data_begin <= min(HEADER_BYTES_MAX + 8, size):
        raise CheckpointError(
            "SWC_BAD_HEADER", f"{path}: safetensors header invalid: {data_begin} bytes in a file of {size}"
        )
    data = read_range(run, path, 0, min(-(-data_begin // block) * block, size))
    unread = Header(data_begin=data_begin, entries=(), metadata={})
    check_blocks(
        DataFile(path=path, bytes=size, crc_block_bytes=block, checks=checks, header=unread, writer=0),
        0,
        as_bytes(data),
    )
    try:
        length = header_length(data[:8], size)
        if length + 8 != data_begin:
            raise ValueError(f"{length + 8} bytes, manifest says {data_begin}")
        text = data[8:data_begin]
        return parse_header(text, size), text
    except ValueError as error:
        raise CheckpointError("SWC_BAD_HEADER", f"{path}: safetensors header invalid: {error}") from error


def _affected(entries: tuple[HeaderEntry, ...], begin: int, end: int) -> str:
    names = [entry.name for entry in entries if entry.begin < end and entry.end > begin]
    return f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}" if names else "the header"


def _check_digest(path: str, found: str, expected: str) -> None:
    if found != expected:
        raise CheckpointError("SWC_CORRUPT_FILE", f"{path}: sha256 {found}, expected {expected}")


def _parsed(path: str, parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError("SWC_BAD_RECORD", f"{path}: {error}; the record is torn or edited") from error
