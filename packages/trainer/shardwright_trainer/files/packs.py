"""Packs: ordinary safetensors files of flat ranges, written once, checksummed from the staged bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardwright_trainer.files.canonical_json import canonical_bytes, sha256_name
from shardwright_trainer.files.crc import Bytes, as_bytes, crc_list
from shardwright_trainer.files.safetensors_header import DTYPE_BYTES, build_header
from shardwright_trainer.files.schema import Schema
from shardwright_trainer.files.staged import StagedIndex
from shardwright_trainer.files.swc_errors import SaveError

PACK_ENTRIES_MAX = 200_000
"""At most ~400 bytes per header entry, so a header stays below 80 MB."""
HEADER_ALIGN_MIN = 4096
WRITE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Elements [first, first + count) of one tensor in one kind: one entry of a pack."""

    kind: str
    dtype: str
    fqn: str
    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Neighbouring pieces; their data is bytes [begin, end) of the staged file, as they lie there."""

    pieces: tuple[Piece, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """One pack on disk, as the writer manifest lists it."""

    path: str
    size: int
    header_bytes: int
    sha256: str
    crc_path: str
    crc_sha256: str
    crc_block_bytes: int
    header: bytes
    """The N header bytes, without their length."""


def plan_packs(index: StagedIndex, schema: Schema, pack_bytes_max: int) -> list[Pack]:
    """Pieces by (dtype size descending, kind, offset), which is the staged order, cut into packs."""
    packs: list[Pack] = []
    open_pieces: list[Piece] = []
    begin = at = 0
    for piece in _pieces(index, schema, pack_bytes_max):
        size = DTYPE_BYTES[piece.dtype] * piece.count
        if open_pieces and (at + size - begin > pack_bytes_max or len(open_pieces) >= PACK_ENTRIES_MAX):
            packs.append(Pack(pieces=tuple(open_pieces), begin=begin, end=at))
            open_pieces, begin = [], at
        open_pieces.append(piece)
        at += size
    if open_pieces:
        packs.append(Pack(pieces=tuple(open_pieces), begin=begin, end=at))
    return packs


def _pieces(index: StagedIndex, schema: Schema, pack_bytes_max: int) -> Iterator[Piece]:
    section = schema.sections[0].id
    for kind in index.kinds:
        # A run longer than a pack is cut at block borders, the only legal place inside a tensor.
        blocks_max = max(1, pack_bytes_max // (DTYPE_BYTES[kind.dtype] * index.block_elements))
        for first, count in index.runs:
            for block in range(first, first + count, blocks_max):
                begin, _ = index.bounds(block)
                _, end = index.bounds(min(block + blocks_max, first + count) - 1)
                for tensor, e0, length in schema.pieces(section, begin, end):
                    yield Piece(kind=kind.kind, dtype=kind.dtype, fqn=tensor.fqn, first=e0, count=length)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackWriter:
    """Writes the files of one writer into one save directory."""

    folder: str
    schema_sha256: str
    crc_block_bytes: int

    def write(self, stem: str, pack: Pack, staged: Bytes) -> WrittenFile:
        """One pack and its CRC list, both fsynced.

        The metadata names nothing but the schema, so that equal tensors give equal files.
        """
        note = {"v": 1, "schema": self.schema_sha256, "space": "trainable"}
        header, _ = build_header(
            (
                (f"{piece.kind}/{piece.fqn}@{piece.first}", piece.dtype, (piece.count,))
                for piece in pack.pieces
            ),
            {"swc": canonical_bytes(note).decode()},
            max(HEADER_ALIGN_MIN, self.crc_block_bytes),
        )
        data = staged[pack.begin : pack.end]
        # The header fills whole CRC blocks, so the data's blocks start at its first byte.
        checks = [*crc_list(as_bytes(header), self.crc_block_bytes), *crc_list(data, self.crc_block_bytes)]
        crc_bytes = np.array(checks, dtype="<u4").tobytes()
        digest = hashlib.sha256()
        self.create(f"{stem}.safetensors", _hashed([header, *_slices(data)], digest))
        self.create(f"{stem}.crc", [crc_bytes])
        return WrittenFile(
            path=f"{stem}.safetensors",
            size=len(header) + len(data),
            header_bytes=len(header),
            sha256=f"sha256:{digest.hexdigest()}",
            crc_path=f"{stem}.crc",
            crc_sha256=sha256_name(crc_bytes),
            crc_block_bytes=self.crc_block_bytes,
            header=header[8:],
        )

    def create(self, name: str, chunks: Iterable[Any]) -> None:
        """A new file, written and fsynced once. A failed fsync is final: its pages may be marked clean."""
        path = os.path.join(self.folder, name)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                for chunk in chunks:
                    view = memoryview(chunk).cast("B")
                    while view:
                        view = view[os.write(handle, view) :]
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise SaveError.of(path, error) from error

    def sync_folder(self) -> None:
        """Makes the names in the folder durable."""
        try:
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise SaveError.of(self.folder, error) from error


def _slices(data: Bytes) -> Iterator[Bytes]:
    for begin in range(0, len(data), WRITE_BYTES):
        yield data[begin : begin + WRITE_BYTES]


def _hashed(chunks: list[Any], digest: Any) -> Iterator[Any]:
    """Digests what is handed to the file from memory, never what is read back."""
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
