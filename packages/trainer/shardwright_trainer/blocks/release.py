"""Lanes → holders while the step still computes: each lane is sent when it is finished, to be freed at once.

Legend: e elements of the flat space, p elements this rank holds, packed in block order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.blocks.reduce import Wire, merge, sends_to_holders
from shardwright_trainer.plan.lanes import LaneStack


class Partials:
    """Buffers for partial sums of held blocks, kept from step to step: fresh memory of this size costs a
    fault per page."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype = dtype
        self._device = device
        self._elements = 0
        self._all: list[Tensor] = []
        self._free: list[Tensor] = []

    @property
    def count(self) -> int:
        """Buffers that were ever needed at once since the last `fit` that changed their size."""
        return len(self._all)

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._all)

    def fit(self, elements: int) -> None:
        """All buffers are free from here on, and of this many elements."""
        if elements != self._elements:
            self._elements, self._all = elements, []
        self._free = list(self._all)

    def take(self) -> Tensor:
        """[p], content undefined."""
        if not self._free:
            self._free.append(torch.empty(self._elements, dtype=self._dtype, device=self._device))
            self._all.append(self._free[-1])
        return self._free.pop()

    def give(self, buffer: Tensor) -> None:
        """The content is not needed any more; what is not one of the buffers is ignored."""
        if any(buffer is one for one in self._all):
            self._free.append(buffer)


class ReleaseSum:
    """The canonical sum of the held blocks of one step, fed in rounds.

    After a round all lanes of a prefix [0, m) are in: at most log2(lanes) partial sums [p] stay, whatever the
    number of ranks.
    """

    def __init__(self, wire: Wire, held: Sequence[Held], partials: Partials) -> None:
        """held[r]: blocks of rank r."""
        self._wire = wire
        self._held = held
        self._partials = partials
        self._stack: LaneStack[Tensor] = LaneStack(self._merge)
        partials.fit(held[wire.rank].elements)

    def release(self, lanes: Sequence[int | None], gradient_e: Tensor | None, *, is_last: bool) -> None:
        """One round, the same on every rank. lanes[r]: the lane that rank r sends, in ascending order.

        gradient_e: this rank's lane in the wire dtype. It may be written into again when this returns,
        unless the round is the last one: then the sum may lie in it.
        """
        me = self._held[self._wire.rank]
        sends: list[tuple[int, Tensor]] = []
        receives: list[tuple[int, Tensor]] = []
        arrived: list[tuple[int, Tensor]] = []
        for rank, lane in enumerate(lanes):
            if rank == self._wire.rank:
                if gradient_e is not None and lane is not None:
                    sends = sends_to_holders(rank, self._held, gradient_e)
                    arrived.append((lane, me.pack(gradient_e) if is_last else self._copy(gradient_e)))
            elif lane is not None:
                part_p = self._partials.take()
                receives += [(rank, run) for run in me.packed_runs(part_p)]
                arrived.append((lane, part_p))
        self._wire.exchange(sends, receives)
        for lane, part_p in arrived:
            self._stack.push(lane, part_p)

    def finish(self) -> Tensor:
        """The sum [p] in fp32."""
        return self._stack.finish().float()

    def _copy(self, gradient_e: Tensor) -> Tensor:
        me = self._held[self._wire.rank]
        copy_p = self._partials.take()
        for run, (begin, end) in zip(me.packed_runs(copy_p), me.runs, strict=True):
            run.copy_(gradient_e[begin:end])
        return copy_p

    def _merge(self, left: Tensor, right: Tensor) -> Tensor:
        total = merge(left, right)
        self._partials.give(right)
        return total
