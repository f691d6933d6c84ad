"""Where a rank's blocks lie: in the flat space, and packed one after another in what it holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shardwright_trainer.plan.block_map import held_blocks, owned_blocks
from shardwright_trainer.plan.config import BlockMap
from shardwright_trainer.plan.flat import block_bounds, run_bounds, runs_of


@dataclass(frozen=True, slots=True)
class Held:
    """The blocks one rank holds, looked up in the map. Packed positions count held elements in block
    order."""

    block_map: BlockMap
    rank: int
    owned: tuple[int, ...]
    blocks: tuple[int, ...]
    """Owned and replicas, ascending."""
    runs: tuple[tuple[int, int], ...]
    """Held elements [begin, end) of the flat space, neighbouring blocks joined."""
    packed: dict[int, tuple[int, int]]
    """Block → [begin, end) in packed order."""
    elements: int

    @staticmethod
    def of(block_map: BlockMap, rank: int) -> Held:
        blocks = held_blocks(block_map, rank)
        packed: dict[int, tuple[int, int]] = {}
        at = 0
        for block in blocks:
            begin, end = block_bounds(block_map, block)
            packed[block] = (at, at + end - begin)
            at += end - begin
        return Held(
            block_map=block_map,
            rank=rank,
            owned=tuple(owned_blocks(block_map, rank)),
            blocks=tuple(blocks),
            runs=tuple(run_bounds(block_map, first, count) for first, count in runs_of(blocks)),
            packed=packed,
            elements=at,
        )

    @property
    def is_everything(self) -> bool:
        return self.elements == self.block_map.elements

    def pack(self, flat: Tensor) -> Tensor:
        """The held elements of a flat tensor, packed; a view of it when they are one run."""
        if self.is_everything:
            return flat
        if not self.runs:
            return flat.new_empty(0)
        if len(self.runs) == 1:
            return flat[slice(*self.runs[0])]
        return torch.cat([flat[begin:end] for begin, end in self.runs])

    def packed_runs(self, packed: Tensor) -> list[Tensor]:
        """Views of a packed tensor, one for each run."""
        return list(torch.split(packed, [end - begin for begin, end in self.runs]))
