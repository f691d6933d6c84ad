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
from shardwright_trainer.files.local_path import local_path
from shardwright_trainer.files.read_plan import Extent, Read
from shardwright_trainer.files.safetensors_header import (
    DTYPE_BYTES,
    HEADER_BYTES_MAX,
    Header,
    HeaderEntry,
    header_length,
    parse_header,
)
from shardwright_trainer.files.schema import SCHEMA_BYTES_MAX, Schema, SchemaTensor, parse_schema
from shardwright_trainer.files.swc_errors import CheckpointError

RECORD_BYTES_MAX = 16 * 1024 * 1024
VERSION = 1
COMMIT_KEY = re.compile(r"^\d{20}-\d{10}-\d{3}$")
SAFE_PATH = re.compile(r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")


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
        data = as_bytes(_read_range(self.run_directory, file.path, read.begin, read.end))
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
    schema_bytes = _read_whole(run, schema_ref["path"], SCHEMA_BYTES_MAX)
    _check_digest(schema_ref["path"], sha256_name(schema_bytes), schema_ref["sha256"])
    schema = _parsed(schema_ref["path"], lambda: parse_schema(schema_bytes))
    files: list[DataFile] = []
    for writer in record["writers"]:
        files += _files_of(run, record, writer)
    extents = tuple(
        extent for number, file in enumerate(files) for extent in _extents_of(number, file, schema)
    )
    _check_coverage(schema, extents)
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
    value: dict[str, Any] = _parsed(path, lambda: parse_object(_read_whole(run, path, RECORD_BYTES_MAX)))
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
    data = _read_whole(run, path, RECORD_BYTES_MAX)
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
    size = _size(run, path)
    if size != entry["bytes"]:
        raise CheckpointError("SWC_SIZE_MISMATCH", f"{path}: {size} bytes, manifest says {entry['bytes']}")
    crc_bytes_expected = 4 * -(-size // block)
    crc_bytes = _read_whole(run, crc_path, crc_bytes_expected)
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
    data = _read_range(run, path, 0, min(-(-data_begin // block) * block, size))
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


def _extents_of(number: int, file: DataFile, schema: Schema) -> list[Extent]:
    tensors = {tensor.fqn: tensor for tensor in schema.tensors}
    extents: list[Extent] = []
    for entry in file.header.entries:
        kind, fqn, first = _entry_name(file.path, entry)
        tensor = tensors.get(fqn)
        if tensor is None or kind not in schema.sections[tensor.section].kinds:
            raise CheckpointError(
                "SWC_BAD_HEADER",
                f'{file.path}: safetensors header invalid: "{entry.name}" is not in the schema',
            )
        _check_entry(file.path, entry, tensor, first, schema.sections[tensor.section].kinds[kind])
        begin = tensor.start + first
        extents.append(
            Extent(
                kind=kind,
                begin=begin,
                end=begin + entry.shape[0],
                file=number,
                byte=entry.begin,
                element_bytes=DTYPE_BYTES[entry.dtype],
                name=entry.name,
            )
        )
    return extents


def _entry_name(path: str, entry: HeaderEntry) -> tuple[str, str, int]:
    """ "{kind}/{fqn}@{e0}", parted at the first / and the last @."""
    kind, slash, rest = entry.name.partition("/")
    fqn, at, first = rest.rpartition("@")
    if (
        not slash
        or not at
        or not re.fullmatch(r"[a-z0-9_]+", kind)
        or not re.fullmatch(r"0|[1-9]\d{0,15}", first)
    ):
        raise CheckpointError(
            "SWC_BAD_HEADER", f'{path}: safetensors header invalid: "{entry.name}" is not kind/name@element'
        )
    return kind, fqn, int(first)


def _check_entry(path: str, entry: HeaderEntry, tensor: SchemaTensor, first: int, dtype: str) -> None:
    if len(entry.shape) != 1 or first + entry.shape[0] > tensor.elements or entry.dtype != dtype:
        raise CheckpointError(
            "SWC_BAD_HEADER",
            f'{path}: safetensors header invalid: "{entry.name}" is {entry.dtype}{list(entry.shape)}, '
            f"the schema has {dtype}{list(tensor.shape)}",
        )


def _check_coverage(schema: Schema, extents: tuple[Extent, ...]) -> None:
    """Each kind of the section is tiled exactly once; the schema's writer makes one section."""
    if len(schema.sections) != 1:
        raise CheckpointError(
            "SWC_UNKNOWN_FEATURE",
            f'requires "{len(schema.sections)} sections", unknown to this version; nothing was changed',
        )
    section = schema.sections[0]
    for kind in sorted(section.kinds):
        at = 0
        for extent in sorted(
            (item for item in extents if item.kind == kind), key=lambda item: (item.begin, item.end)
        ):
            if extent.begin != at:
                what, low, high = (
                    ("gap", at, extent.begin) if extent.begin > at else ("overlap", extent.begin, at)
                )
                raise _coverage(schema, kind, what, (low, high))
            at = extent.end
        if at != section.elements:
            raise _coverage(schema, kind, "gap", (at, section.elements))


def _coverage(schema: Schema, kind: str, what: str, span: tuple[int, int]) -> CheckpointError:
    tensor = schema.pieces(schema.sections[0].id, span[0], span[0] + 1)[0][0]
    block = span[0] // schema.block_elements
    return CheckpointError(
        "SWC_COVERAGE",
        f"section 0 kind {kind}: {what} at elements {span[0]}..{span[1]} (block {block}, {tensor.fqn})",
    )


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


def _inside(run: str, path: str) -> str:
    """The path on disk; refuses anything that leaves the run's directory, by name or by symlink."""
    if not SAFE_PATH.match(path) or any(part in (".", "..") for part in path.split("/")):
        raise CheckpointError("SWC_BAD_RECORD", f'"{path}" is not a path inside a run')
    full = os.path.join(run, path)
    root = os.path.realpath(run)
    if os.path.commonpath([root, os.path.realpath(full)]) != root:
        raise CheckpointError("SWC_BAD_RECORD", f"{path}: leads out of the run through a link")
    return full


def _size(run: str, path: str) -> int:
    try:
        return os.stat(_inside(run, path)).st_size
    except FileNotFoundError as error:
        raise CheckpointError("SWC_MISSING_FILE", f"{path}: missing") from error


def _read_whole(run: str, path: str, bytes_max: int) -> bytes:
    """A whole file; larger than its limit is refused before it is read."""
    size = _size(run, path)
    if size > bytes_max:
        raise CheckpointError("SWC_SIZE_MISMATCH", f"{path}: {size} bytes, at most {bytes_max} are allowed")
    return _read_range(run, path, 0, size)


def _read_range(run: str, path: str, begin: int, end: int) -> bytes:
    try:
        with open(_inside(run, path), "rb") as file:
            file.seek(begin)
            data = file.read(end - begin)
    except FileNotFoundError as error:
        raise CheckpointError("SWC_MISSING_FILE", f"{path}: missing") from error
    if len(data) != end - begin:
        raise CheckpointError(
            "SWC_SIZE_MISMATCH", f"{path}: ends at byte {begin + len(data)}, {end} expected"
        )
    return data
