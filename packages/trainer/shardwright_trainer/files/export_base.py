"""The frozen model that an export starts from: its safetensors files, checked against the job's digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shardwright_trainer.files.export_dtypes import to_fp32
from shardwright_trainer.files.safetensors_header import HeaderEntry, header_length, parse_header
from shardwright_trainer.files.swc_errors import CheckpointError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
INDEX_BYTES_MAX = 64 * 1024 * 1024
HASH_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTensor:
    file: Path
    entry: HeaderEntry

    def rows_fp32(self, begin: int, end: int) -> npt.NDArray[np.float32]:
        """Elements [begin, end) in row-major order, as fp32."""
        return to_fp32(self.raw(begin, end), self.entry.dtype)

    def raw(self, begin: int, end: int) -> bytes:
        """The stored bytes of elements [begin, end)."""
        count = max(1, int(np.prod(self.entry.shape, dtype=np.int64)))
        size = (self.entry.end - self.entry.begin) // count
        with self.file.open("rb") as file:
            file.seek(self.entry.begin + begin * size)
            data = file.read((end - begin) * size)
        if len(data) != (end - begin) * size:
            raise CheckpointError("SWC_BASE_MISMATCH", f"base {self.file}: ends inside {self.entry.name}")
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    directory: Path
    files: Mapping[str, str]
    tensors: Mapping[str, BaseTensor]
    """By name, in key order of the files."""
    checked: set[str] = field(default_factory=set)

    def path(self, name: str) -> Path:
        return self.directory / name

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def check(self, name: str) -> None:
        """Compares a file with the job's digest of it, once; a file without one is taken as it is."""
        expected = self.files.get(name)
        if expected is None or name in self.checked:
            return
        digest = hashlib.sha256()
        with self.path(name).open("rb") as file:
            while chunk := file.read(HASH_BYTES):
                digest.update(chunk)
        found = f"sha256:{digest.hexdigest()}"
        if found.removeprefix("sha256:") != expected.removeprefix("sha256:"):
            raise CheckpointError(
                "SWC_BASE_MISMATCH", f"base {self.directory}: {name} sha256 {found}, expected {expected}"
            )
        self.checked.add(name)


def open_base(directory: str, files: Mapping[str, str]) -> Base:
    """Reads the headers of a Hugging Face directory. A missing file or an entry in two files is an error."""
    folder = Path(directory)
    for name in files:
        if not (folder / name).is_file():
            raise CheckpointError("SWC_BASE_MISSING", f"base {directory}: {name} missing")
    tensors: dict[str, BaseTensor] = {}
    wanted = _weight_map(folder)
    for name in sorted(set(wanted.values())) if wanted else [SINGLE]:
        for entry in _entries(folder / name):
            if entry.name in tensors:
                raise CheckpointError("SWC_BASE_MISMATCH", f"base {directory}: {entry.name} is in two files")
            tensors[entry.name] = BaseTensor(file=folder / name, entry=entry)
    lost = [key for key in wanted if key not in tensors]
    if lost:
        raise CheckpointError("SWC_BASE_MISSING", f"base {directory}: {lost[0]} of the index is in no file")
    return Base(directory=folder, files=files, tensors={key: tensors[key] for key in sorted(tensors)})


def _weight_map(folder: Path) -> dict[str, str]:
    index = folder / INDEX
    if not index.is_file():
        return {}
    if index.stat().st_size > INDEX_BYTES_MAX:
        raise CheckpointError("SWC_BASE_MISMATCH", f"base {folder}: {INDEX} is too large")
    try:
        weight_map = json.loads(index.read_text("utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError("SWC_BASE_MISMATCH", f"base {folder}: {INDEX}: {error}") from error
    if any("/" in name for name in weight_map.values()):
        raise CheckpointError(
            "SWC_BASE_MISMATCH", f"base {folder}: {INDEX} names a file outside of its folder"
        )
    return dict(weight_map)


def _entries(path: Path) -> tuple[HeaderEntry, ...]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = header_length(file.read(8), size)
            return parse_header(file.read(length), size).entries
    except FileNotFoundError as error:
        raise CheckpointError("SWC_BASE_MISSING", f"base {path.parent}: {path.name} missing") from error
    except ValueError as error:
        raise CheckpointError("SWC_BASE_MISMATCH", f"base {path.parent}: {path.name}: {error}") from error
