"""Optimizer state of the blocks a rank holds: nothing is allocated that the map does not give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shardwright_trainer.blocks.adamw import AdamW
from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.blocks.pieces import PIECE_ELEMENTS, pieces
from shardwright_trainer.files.crc import crc32c
from shardwright_trainer.plan.flat import block_bounds

KINDS = ("master", "exp_avg", "exp_avg_sq")


@dataclass(slots=True)
class BlockState:
    """master, exp_avg and exp_avg_sq, fp32, by block.

    With fp32 parameters the master of a held block is that part of the parameter buffer; there is no second
    copy.
    """

    held: Held
    flat: Tensor
    master: dict[int, Tensor]
    exp_avg: dict[int, Tensor]
    exp_avg_sq: dict[int, Tensor]

    @staticmethod
    def allocate(held: Held, flat: Tensor, kept: BlockState | None = None) -> BlockState:
        """State for the held blocks, moments zero, masters from `flat`; blocks that `kept` has are shared
        with it."""
        state = BlockState(held, flat, {}, {}, {})
        for block in held.blocks:
            if kept is not None and block in kept.master:
                state.master[block] = kept.master[block]
                state.exp_avg[block] = kept.exp_avg[block]
                state.exp_avg_sq[block] = kept.exp_avg_sq[block]
                continue
            part = state.slice_of(block)
            state.master[block] = part if flat.dtype == torch.float32 else part.float()
            state.exp_avg[block] = torch.zeros_like(part, dtype=torch.float32)
            state.exp_avg_sq[block] = torch.zeros_like(part, dtype=torch.float32)
        return state

    def slice_of(self, block: int) -> Tensor:
        """The block's part of the parameter buffer."""
        begin, end = block_bounds(self.held.block_map, block)
        return self.flat[begin:end]

    def kinds_of(self, block: int) -> tuple[Tensor, Tensor, Tensor]:
        """(master, exp_avg, exp_avg_sq)."""
        return self.master[block], self.exp_avg[block], self.exp_avg_sq[block]

    def load(self, blocks: Mapping[str, Mapping[int, Any]]) -> None:
        """Fills every held block from arrays: kind → block → fp32 elements. KeyError when one is missing."""
        for kind in KINDS:
            target: dict[int, Tensor] = getattr(self, kind)
            for block, tensor in target.items():
                tensor.copy_(torch.from_numpy(blocks[kind][block]))

    def update(self, adamw: AdamW, gradient_p: Tensor, clip: float) -> None:
        """One update of every held block from the reduced gradient [p], which is used up."""
        length = min(PIECE_ELEMENTS, self.held.elements)
        scratch = torch.empty(length, dtype=torch.float32, device=self.flat.device)
        for block in self.held.blocks:
            tensors = (*self.kinds_of(block), gradient_p[slice(*self.held.packed[block])])
            for master, exp_avg, exp_avg_sq, gradient in zip(*map(pieces, tensors), strict=True):
                if clip != 1.0:
                    gradient.mul_(clip)
                adamw.apply(master, exp_avg, exp_avg_sq, gradient, scratch[: gradient.numel()])
            self.publish(block)

    def publish(self, block: int) -> None:
        """Rounds the master of a block into the parameter buffer; nothing to do where they are one."""
        if self.flat.dtype != torch.float32:
            self.slice_of(block).copy_(self.master[block])

    def crc_of(self, block: int) -> int:
        """CRC-32C over the bytes of master, exp_avg and exp_avg_sq of a block, one after another."""
        return crc32c(torch.cat(self.kinds_of(block)).cpu().numpy().view("u1"))

    def crcs(self, blocks: Iterable[int]) -> list[int]:
        return [self.crc_of(block) for block in blocks]

    @property
    def optimizer_bytes(self) -> int:
        """Bytes of the three kinds of all held blocks, measured on the tensors."""
        return sum(tensor.nbytes for block in self.held.blocks for tensor in self.kinds_of(block))
