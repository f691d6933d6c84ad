"""The gradient norm of a step: per block in fp64 by its owner, added in block order, hence the same
everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

CLIP_EPSILON = 1e-6
"""As torch.nn.utils.clip_grad_norm_."""


def block_square_sums(blocks: Sequence[Tensor]) -> Tensor:
    """[blocks] fp64 on the CPU: Σ g² of each block, one block at a time, whatever else the rank holds."""
    sums = torch.zeros(len(blocks), dtype=torch.float64)
    if not blocks:
        return sums
    # One scratch for all blocks: the kernel then always sees the same alignment.
    scratch = torch.empty(
        max(block.numel() for block in blocks), dtype=torch.float64, device=blocks[0].device
    )
    for index, block in enumerate(blocks):
        square = scratch[: block.numel()]
        square.copy_(block)
        sums[index] = square.mul_(square).sum()
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
