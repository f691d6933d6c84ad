"""Which byte ranges of which files to read so that every wanted element is read once. Pure arithmetic."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

COALESCE_GAP_BYTES = 65_536
"""Reading over a gap this small is cheaper than a second request."""
READ_BYTES_MAX = 64 * 1024 * 1024
"""Buffer of one read; with the rank's own blocks it is all the memory a restore takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Elements [begin, end) of the flat space in one kind, stored at `byte` of a file."""

    kind: str
    begin: int
    end: int
    file: int
    byte: int
    element_bytes: int
    name: str
    """The entry's name in the pack, for messages."""


class FileShape(Protocol):
    """What planning needs of a file."""

    @property
    def bytes(self) -> int: ...

    @property
    def crc_block_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Wanted: elements [begin, end) of a kind, into these bytes."""

    kind: str
    begin: int
    end: int
    into: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Bytes [begin, end) of the file go to `into` from byte `at`."""

    begin: int
    end: int
    into: Any
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One range of whole CRC blocks and what is taken from it."""

    file: int
    begin: int
    end: int
    slices: tuple[Slice, ...]


def plan_reads(
    extents: Sequence[Extent], files: Sequence[FileShape], targets: Sequence[Target]
) -> list[Read]:
    """Reads in (file, offset) order; their slices fill every target exactly once. ValueError on a gap."""
    by_kind: dict[str, list[Extent]] = {}
    for extent in sorted(extents, key=lambda extent: (extent.kind, extent.begin)):
        by_kind.setdefault(extent.kind, []).append(extent)
    wanted: dict[int, list[Slice]] = {}
    for target in targets:
        for file, part in _slices_for(target, by_kind.get(target.kind, [])):
            wanted.setdefault(file, []).append(part)
    reads: list[Read] = []
    for file in sorted(wanted):
        reads += _reads_of(file, files[file], sorted(wanted[file], key=lambda part: part.begin))
    return reads


def _slices_for(target: Target, extents: list[Extent]) -> list[tuple[int, Slice]]:
    found: list[tuple[int, Slice]] = []
    at = target.begin
    index = bisect_right(extents, at, key=lambda extent: extent.begin) - 1
    while at < target.end:
        if not 0 <= index < len(extents) or not extents[index].begin <= at < extents[index].end:
            raise ValueError(f"section 0 kind {target.kind}: gap at elements {at}..{target.end}")
        extent = extents[index]
        stop = min(target.end, extent.end)
        size = extent.element_bytes
        begin = extent.byte + (at - extent.begin) * size
        part = Slice(
            begin=begin, end=begin + (stop - at) * size, into=target.into, at=(at - target.begin) * size
        )
        found.append((extent.file, part))
        at, index = stop, index + 1
    return found


def _reads_of(file: int, shape: FileShape, slices: list[Slice]) -> list[Read]:
    """Coalesced, rounded out to CRC blocks, split; no byte of the file in two reads."""
    spans: list[tuple[int, int]] = []
    for part in slices:
        begin = part.begin // shape.crc_block_bytes * shape.crc_block_bytes
        end = min(-(-part.end // shape.crc_block_bytes) * shape.crc_block_bytes, shape.bytes)
        if spans and begin - spans[-1][1] <= COALESCE_GAP_BYTES:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((begin, end))
    step = max(READ_BYTES_MAX // shape.crc_block_bytes, 1) * shape.crc_block_bytes
    cuts = [(at, min(at + step, end)) for begin, end in spans for at in range(begin, end, step)]
    reads: list[Read] = []
    first = 0
    for begin, end in cuts:
        while first < len(slices) and slices[first].end <= begin:
            first += 1
        parts: list[Slice] = []
        for part in slices[first:]:
            if part.begin >= end:
                break
            if part.end > begin:
                parts.append(_clip(part, begin, end))
        reads.append(Read(file=file, begin=begin, end=end, slices=tuple(parts)))
    return reads


def _clip(part: Slice, begin: int, end: int) -> Slice:
    start, stop = max(part.begin, begin), min(part.end, end)
    return Slice(begin=start, end=stop, into=part.into, at=part.at + start - part.begin)
