"""The index of a staged file: which blocks of which kinds lie where in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shardwright_trainer.files.canonical_json import canonical_bytes, parse_object
from shardwright_trainer.files.safetensors_header import DTYPE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedKind:
    kind: str
    dtype: str
    offset: int
    """First byte in the staged file; the kind's blocks follow one another, ascending."""
    crc32c: tuple[int, ...]
    """Of each block, made from the rank's live memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One block of one kind in the staged file."""

    block: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedIndex:
    elements: int
    """Of the whole flat space; the last block of it is short."""
    block_elements: int
    bytes: int
    runs: tuple[tuple[int, int], ...]
    """(first block, blocks), ascending; the same for every kind."""
    kinds: tuple[StagedKind, ...]
    """In pack order: dtype size descending, then by name."""

    def bounds(self, block: int) -> tuple[int, int]:
        """Elements of the flat space that a block holds."""
        begin = block * self.block_elements
        return begin, min(begin + self.block_elements, self.elements)

    def blocks(self) -> list[int]:
        return [block for first, count in self.runs for block in range(first, first + count)]

    def places(self, kind: StagedKind) -> list[Place]:
        size = DTYPE_BYTES[kind.dtype]
        at = kind.offset
        places: list[Place] = []
        for block in self.blocks():
            begin, end = self.bounds(block)
            places.append(Place(block=block, begin=at, end=at + size * (end - begin)))
            at = places[-1].end
        return places

    def to_json(self) -> str:
        return canonical_bytes(
            {
                "v": 1,
                "elements": self.elements,
                "block_elements": self.block_elements,
                "bytes": self.bytes,
                "runs": [list(run) for run in self.runs],
                "kinds": [
                    {
                        "kind": kind.kind,
                        "dtype": kind.dtype,
                        "offset": kind.offset,
                        "crc32c": list(kind.crc32c),
                    }
                    for kind in self.kinds
                ],
            }
        ).decode()

    @staticmethod
    def from_json(text: str) -> StagedIndex:
        """ValueError when it is not an index of this version."""
        value = parse_object(text.encode())
        if value.get("v") != 1:
            raise ValueError(f"staged index of version {value.get('v')}, expected 1")
        return StagedIndex(
            elements=value["elements"],
            block_elements=value["block_elements"],
            bytes=value["bytes"],
            runs=tuple((first, count) for first, count in value["runs"]),
            kinds=tuple(
                StagedKind(
                    kind=item["kind"],
                    dtype=item["dtype"],
                    offset=item["offset"],
                    crc32c=tuple(item["crc32c"]),
                )
                for item in value["kinds"]
            ),
        )


def runs_of(blocks: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Ascending block numbers as (first, count) runs."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and block == runs[-1][0] + runs[-1][1]:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((block, 1))
    return tuple(runs)
