"""Random numbers as pure functions of what they are for. No generator lives longer than one call.

A generator per rank would give other numbers under another world size; a key made of (seed, step, lane,
micro-batch, site) gives the same ones wherever, and in whatever order, a micro-batch is computed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


@dataclass(slots=True)
class DropoutContext:
    """Which micro-batch the model is computing; set by the step, read by every dropout of the model."""

    seed: int = 0
    step: int = 0
    lane: int = 0
    micro_batch: int = 0

    def at(self, step: int, lane: int, micro_batch: int) -> None:
        self.step, self.lane, self.micro_batch = step, lane, micro_batch

    def key(self, site: str) -> int:
        return key_of(self.seed, self.step, self.lane, self.micro_batch, site)


def key_of(*parts: int | str) -> int:
    """A key of 63 bits, enough to seed a generator, from the numbers and names of what it is for."""
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def uniform(seed: int, fqn: str, elements: int, bound: float) -> npt.NDArray[np.float32]:
    """`elements` fp32 numbers uniform in [-bound, bound), a pure function of (seed, fqn).

    Philox words in counter order, the top 24 bits of each: defined by the algorithm, not by a library's
    sampler.
    """
    words = np.random.Philox(key=key_of(seed, "init", fqn)).random_raw(elements)
    unit = (words >> np.uint64(40)).astype(np.float64) * 2.0**-24
    return ((2.0 * unit - 1.0) * bound).astype(np.float32)


class CounterDropout(nn.Module):
    """Dropout whose mask is a function of the micro-batch and of the place in the model (`site`)."""

    def __init__(self, p: float, site: str, context: DropoutContext) -> None:
        super().__init__()
        self.p = p
        self.site = site
        self.context = context

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        # Keyed, not stateful: recomputation under gradient checkpointing draws the same mask again.
        generator = torch.Generator(device=x.device).manual_seed(self.context.key(self.site))
        keep = torch.rand(x.shape, generator=generator, device=x.device) >= self.p
        return x * keep.to(x.dtype) / (1.0 - self.p)


def key_dropouts(model: nn.Module, context: DropoutContext) -> int:
    """Replaces every active nn.Dropout of the model by a keyed one, in place; returns how many."""
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout) and module.p > 0.0
    ]
    for name, module in found:
        parent, _, leaf = name.rpartition(".")
        keyed = CounterDropout(module.p, name, context)
        keyed.train(module.training)
        setattr(model.get_submodule(parent), leaf, keyed)
    return len(found)
