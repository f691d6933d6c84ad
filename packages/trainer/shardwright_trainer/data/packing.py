"""Documents → rows, and the prepared data on disk. Built once, the same for any number of ranks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Best fit decreasing looks at this many documents at a time: a row mixes neighbours of the file, and the
# search stays linear in the size of the data.
PACKING_WINDOW = 4096
FORMAT_VERSION = 1
META_BYTES_MAX = 16 << 20

_FILES = {
    "tokens": "<i4",
    "learned": "|u1",
    "document_starts": "<i8",
    "row_starts": "<i8",
    "example_ids": "<i8",
    "trained": "<i8",
}
_AGAIN = "delete {} to prepare it again"
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One tokenised example. tokens: int32 [t]; learned: bool [t]; example_id: its number, from 1."""

    tokens: npt.NDArray[np.int32]
    learned: npt.NDArray[np.bool_]
    example_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a micro-batch: documents one after another, never attending to one another.

    tokens: int32 [t]; learned: bool [t], true where the token is a target (the first token of a document
    never counts, nothing precedes it); documents: lengths that sum to t; example_ids: one for each document.
    """

    tokens: npt.NDArray[np.int32]
    learned: npt.NDArray[np.bool_]
    documents: tuple[int, ...]
    example_ids: tuple[int, ...]


def pack(lengths: Sequence[int], row_tokens: int | None) -> list[list[int]]:
    """Document indices of each row. Best fit decreasing inside windows of PACKING_WINDOW documents.

    row_tokens None: one document per row, in file order. Ties go to the lower document and the lower row.
    Raises ValueError for a document longer than a row (truncate first).
    """
    if row_tokens is None:
        return [[index] for index in range(len(lengths))]
    rows: list[list[int]] = []
    for begin in range(0, len(lengths), PACKING_WINDOW):
        window = range(begin, min(begin + PACKING_WINDOW, len(lengths)))
        rows += _pack_window(lengths, window, row_tokens)
    return rows


def _pack_window(lengths: Sequence[int], window: range, row_tokens: int) -> list[list[int]]:
    rows: list[list[int]] = []
    # Rows by the room left in them: the best fit is the smallest room that is large enough.
    by_room: dict[int, list[int]] = {}
    for index in sorted(window, key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if length > row_tokens:
            raise ValueError(f"document {index} has {length} tokens, a row holds {row_tokens}")
        room = min((room for room in by_room if room >= length), default=None)
        if room is None:
            row, room = len(rows), row_tokens
            rows.append([])
        else:
            row = min(by_room[room])
            by_room[room].remove(row)
            if not by_room[room]:
                del by_room[room]
        rows[row].append(index)
        by_room.setdefault(room - length, []).append(row)
    # File order inside a row and of rows: what a reader of the data expects to see.
    return sorted(sorted(row) for row in rows)


class PreparedData:
    """Prepared rows, memory-mapped. `open` checks every digest first."""

    def __init__(self, directory: Path, meta: dict[str, Any], arrays: dict[str, Array]) -> None:
        self.directory = str(directory)
        self.meta = meta
        self.digest: str = meta["digest"]
        self.rows: int = meta["rows"]
        self.examples: int = meta["examples"]
        self.tokens: int = meta["tokens"]
        self.trained_tokens: int = meta["trained_tokens"]
        self.row_tokens_max: int = meta["row_tokens_max"]
        self.warnings: tuple[str, ...] = tuple(meta["warnings"])
        self.template: dict[str, Any] = meta["template"]
        self._arrays = arrays

    @staticmethod
    def open(directory: str | Path) -> PreparedData:
        """Raises ValueError for a file that is missing or differs in length or digest from its index."""
        folder = Path(directory)
        meta = _read_meta(folder)
        arrays: dict[str, Array] = {}
        for name, dtype in _FILES.items():
            path, entry = folder / f"{name}.bin", meta["files"][name]
            if not path.is_file() or path.stat().st_size != entry["bytes"]:
                raise ValueError(f"{path}: missing or not {entry['bytes']} bytes; {_AGAIN.format(folder)}")
            if _file_digest(path) != entry["sha256"]:
                raise ValueError(f"{path}: its bytes do not match its digest; {_AGAIN.format(folder)}")
            empty = entry["bytes"] == 0
            arrays[name] = np.zeros(0, dtype) if empty else np.memmap(path, dtype=dtype, mode="r")
        return PreparedData(folder, meta, arrays)

    def row(self, i: int) -> Row:
        """Row i of [0, rows); its arrays are read-only views of the files."""
        first, last = self._documents_of(i)
        starts = self._arrays["document_starts"][first : last + 1]
        begin, end = int(starts[0]), int(starts[-1])
        return Row(
            tokens=self._arrays["tokens"][begin:end],
            learned=self._arrays["learned"][begin:end].view(np.bool_),
            documents=tuple(int(length) for length in np.diff(starts)),
            example_ids=tuple(int(example) for example in self._arrays["example_ids"][first:last]),
        )

    def row_trained_tokens(self, i: int) -> int:
        """Targets of row i: learned tokens without the first one of each document."""
        self._documents_of(i)
        return int(self._arrays["trained"][i])

    def _documents_of(self, i: int) -> tuple[int, int]:
        if not 0 <= i < self.rows:
            raise IndexError(f"row {i} is outside [0, {self.rows})")
        starts = self._arrays["row_starts"]
        return int(starts[i]), int(starts[i + 1])


def write_prepared(
    directory: Path,
    documents: Sequence[Document],
    rows: Sequence[Sequence[int]],
    facts: dict[str, Any],
) -> None:
    """Write rows of `documents` into the existing folder `directory`.

    facts: digest, examples, warnings, template and whatever else the index shall say.
    """
    ordered = [documents[index] for row in rows for index in row]
    lengths = np.array([len(document.tokens) for document in ordered], np.int64)
    targets = np.array([int(document.learned[1:].sum()) for document in ordered], np.int64)
    row_starts = _starts(np.array([len(row) for row in rows], np.int64))
    starts = _starts(lengths)
    arrays: dict[str, Array] = {
        "tokens": _joined([document.tokens for document in ordered], np.int32),
        "learned": _joined([document.learned for document in ordered], np.bool_).view(np.uint8),
        "document_starts": starts,
        "row_starts": row_starts,
        "example_ids": np.array([document.example_id for document in ordered], np.int64),
        "trained": np.array([int(targets[a:b].sum()) for a, b in _pairs(row_starts)], np.int64),
    }
    files = {}
    for name, dtype in _FILES.items():
        payload = arrays[name].astype(dtype, copy=False).tobytes()
        (directory / f"{name}.bin").write_bytes(payload)
        files[name] = {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    row_tokens = [int(starts[b] - starts[a]) for a, b in _pairs(row_starts)]
    meta = {
        **facts,
        "version": FORMAT_VERSION,
        "files": files,
        "rows": len(rows),
        "tokens": int(lengths.sum()),
        "trained_tokens": int(targets.sum()),
        "row_tokens_max": max(row_tokens, default=0),
    }
    text = json.dumps(meta, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (directory / "meta.json").write_text(text, encoding="utf-8")


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / "meta.json"
    if not path.is_file() or path.stat().st_size > META_BYTES_MAX:
        raise ValueError(f"{path}: not the index of prepared data; {_AGAIN.format(folder)}")
    meta = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(meta, dict) or meta.get("version") != FORMAT_VERSION:
        raise ValueError(f"{path}: not version {FORMAT_VERSION} of prepared data; {_AGAIN.format(folder)}")
    return meta


def _starts(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _pairs(starts: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in pairwise(starts)]


def _joined(parts: Sequence[Array], dtype: type[Any]) -> Array:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype, copy=False)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
