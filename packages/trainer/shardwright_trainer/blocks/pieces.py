"""The pieces in which a block is worked on."""

from __future__ import annotations

import torch
from torch import Tensor

PIECE_ELEMENTS = 1 << 16
"""256 KiB of fp32: gradient, state and scratch of a piece stay in the cache of a core between the
operations of an update. Part of the recipe in effect: sums of squares are added piece by piece."""


def pieces(block: Tensor) -> tuple[Tensor, ...]:
    """Views of PIECE_ELEMENTS elements, the last one short."""
    found: tuple[Tensor, ...] = torch.split(block, PIECE_ELEMENTS)
    return found
