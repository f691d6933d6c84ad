"""The gradient norm of a step: per block in fp64 by its owner, added in block order, hence the same
everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.blocks.pieces import PIECE_ELEMENTS, pieces

CLIP_EPSILON = 1e-6
"""As torch.nn.utils.clip_grad_norm_."""


def scale_and_square(gradient_p: Tensor, held: Held, scale: float) -> Tensor:
    """Multiplies the held gradient [p] by `scale`, in place; returns Σ g² of each owned block, [owned] fp64
    on the CPU.

    One block at a time, and in each of them pieces of a fixed size, summed in order: what else the rank
    holds changes nothing.
    """
    owned = {block: index for index, block in enumerate(held.owned)}
    sums = torch.zeros(len(owned), dtype=torch.float64)
    # One scratch for all pieces: the kernel then always sees the same alignment.
    scratch = torch.empty(min(PIECE_ELEMENTS, held.elements), dtype=torch.float64, device=gradient_p.device)
    for block in held.blocks:
        total = torch.zeros((), dtype=torch.float64, device=gradient_p.device)
        for piece in pieces(gradient_p[slice(*held.packed[block])]):
            piece.mul_(scale)
            if block in owned:
                square = scratch[: piece.numel()]
                square.copy_(piece)
                total += square.mul_(square).sum()
        if block in owned:
            sums[owned[block]] = total
    return sums


def norm_of(sums: Sequence[float]) -> float:
    """√ of the sum of the blocks' square sums, given in block order and added one after another."""
    total = 0.0
    for value in sums:
        total += value
    return math.sqrt(total) if total >= 0.0 else math.nan


def clip_factor(norm: float, max_norm: float) -> float:
    """min(1, max_norm / (norm + 1e-6)); 1 when max_norm is 0, which turns clipping off."""
    return 1.0 if max_norm <= 0.0 else min(1.0, max_norm / (norm + CLIP_EPSILON))
