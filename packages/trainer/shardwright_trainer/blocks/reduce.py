"""Lanes → canonical tree → holders: the sum of a step's gradients, the same bits whoever computed which lane.

Legend: e elements of the flat space, p elements this rank holds, packed in block order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.plan.lanes import LaneStack

WIRE_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Wire(Protocol):
    """What the reduction needs of a process group."""

    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    def exchange(
        self, sends: Sequence[tuple[int, Tensor]], receives: Sequence[tuple[int, Tensor]]
    ) -> None: ...


def merge(left: Tensor, right: Tensor) -> Tensor:
    """round_wire(fp32(left) + fp32(right)), into `left`. torch adds bf16 in fp32 and rounds once, which is
    that."""
    return left.add_(right)


class Arrivals:
    """Buffers for what other ranks send, kept from step to step: fresh memory of this size costs a fault
    per page."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype = dtype
        self._device = device
        self._buffers: dict[tuple[int, int], Tensor] = {}

    def at(self, turn: int, rank: int, elements: int) -> Tensor:
        """[elements], content undefined; the same memory for the same place as long as the length stays."""
        found = self._buffers.get((turn, rank))
        if found is None or found.numel() != elements:
            found = torch.empty(elements, dtype=self._dtype, device=self._device)
            self._buffers[turn, rank] = found
        return found


class LaneSum:
    """Sums of this rank's lanes: at most 1 + log2(lanes) buffers of [e] in the wire dtype."""

    def __init__(self, wire_dtype: torch.dtype) -> None:
        self._wire_dtype = wire_dtype
        self._stack: LaneStack[Tensor] = LaneStack(self._merge)
        self.freed: list[Tensor] = []
        """Buffers that were pushed and are no longer part of a sum; the caller may write into them again."""

    def push(self, lane: int, gradient_e: Tensor, lanes: int = 1) -> None:
        """Adds a finished lane, or two that were summed already; the buffer belongs to the sum until it
        appears in `freed`."""
        if gradient_e.dtype == self._wire_dtype:
            self._stack.push(lane, gradient_e, lanes)
            return
        self._stack.push(lane, gradient_e.to(self._wire_dtype), lanes)
        self.freed.append(gradient_e)

    def take_sibling(self, lane: int) -> Tensor | None:
        """Gradient of lane − 1, if `lane` is to be added to it next and a plain fp32 addition is that sum."""
        return self._stack.take_sibling(lane) if self._wire_dtype == torch.float32 else None

    def nodes(self) -> list[tuple[int, int, Tensor]]:
        """(lo, size, sum [e]) of the maximal aligned nodes, ascending."""
        return self._stack.nodes

    def _merge(self, left: Tensor, right: Tensor) -> Tensor:
        total = merge(left, right)
        if right.dtype == torch.float32:
            self.freed.append(right)
        return total


def reduce_to_holders(
    wire: Wire,
    held: Sequence[Held],
    covers: Sequence[Sequence[tuple[int, int]]],
    mine: Sequence[tuple[int, int, Tensor]],
    arrivals: Arrivals,
) -> Tensor:
    """Finishes the tree for the blocks this rank holds; returns their sums [p] in fp32.

    held[r]: blocks of rank r; covers[r]: (lo, size) of the nodes it sends, all of them together covering the
    leaves of the tree once; mine: this rank's nodes. The i-th nodes of all ranks travel together, each only
    to the holders of a block.
    The result may lie in the memory of `mine` or of `arrivals`.
    """
    assert [(lo, size) for lo, size, _ in mine] == list(covers[wire.rank])
    nodes: list[tuple[int, int, Tensor]] = []
    for turn in range(max(len(nodes_of_rank) for nodes_of_rank in covers)):
        nodes += _exchange_nodes(wire, held, covers, mine, turn=turn, arrivals=arrivals)
    stack: LaneStack[Tensor] = LaneStack(merge)
    for lo, size, value in sorted(nodes, key=lambda node: node[0]):
        stack.push(lo, value, size)
    return stack.finish().float()


def sends_to_holders(rank: int, held: Sequence[Held], sum_e: Tensor) -> list[tuple[int, Tensor]]:
    """What this rank sends of a sum [e]: to each other rank the runs it holds, in rank order."""
    return [
        (other, sum_e[begin:end])
        for other, one in enumerate(held)
        if other != rank
        for begin, end in one.runs
    ]


def _exchange_nodes(
    wire: Wire,
    held: Sequence[Held],
    covers: Sequence[Sequence[tuple[int, int]]],
    mine: Sequence[tuple[int, int, Tensor]],
    *,
    turn: int,
    arrivals: Arrivals,
) -> list[tuple[int, int, Tensor]]:
    """One round: the turn-th node of every rank that has one, cut to what this rank holds: (lo, size,
    [p])."""
    me = held[wire.rank]
    others = [rank for rank in range(wire.world_size) if rank != wire.rank]
    arrived: list[tuple[int, int, Tensor]] = []
    sends: list[tuple[int, Tensor]] = []
    receives: list[tuple[int, Tensor]] = []
    if turn < len(mine):
        lo, size, node_e = mine[turn]
        sends = sends_to_holders(wire.rank, held, node_e)
        arrived.append((lo, size, me.pack(node_e)))
    for rank in others:
        if turn < len(covers[rank]):
            lo, size = covers[rank][turn]
            part_p = arrivals.at(turn, rank, me.elements)
            receives += [(rank, run) for run in me.packed_runs(part_p)]
            arrived.append((lo, size, part_p))
    wire.exchange(sends, receives)
    return arrived
