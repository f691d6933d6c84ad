"""Blocks move between living ranks, by the transfer plan alone, and every block is verified where it
arrives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.blocks.state import BlockState
from shardwright_trainer.plan.block_map import blocks_of
from shardwright_trainer.plan.config import TransferMove
from shardwright_trainer.rank.errors import StateError


class Legs(Protocol):
    """What a transfer needs of a process group."""

    @property
    def rank(self) -> int: ...
    def exchange(
        self, sends: Sequence[tuple[int, Tensor]], receives: Sequence[tuple[int, Tensor]]
    ) -> None: ...


def move_blocks(
    legs: Legs, moves: Sequence[TransferMove], source: BlockState | None, target: BlockState
) -> tuple[int, int]:
    """Sends what the plan takes from this rank, fills what it brings; returns (bytes sent, bytes received)
    of state.

    Ranks are those of the new generation. StateError before anything is sent when the plan takes a block
    this rank does not hold or brings one the map does not give it, and after it when a block arrives with
    another CRC-32C.
    """
    outgoing = [
        (move.target_rank, block)
        for move in moves
        if move.source_rank == legs.rank
        for block in blocks_of(move)
    ]
    incoming = [
        (move.source_rank, block)
        for move in moves
        if move.target_rank == legs.rank
        for block in blocks_of(move)
    ]
    _check(outgoing, incoming, source, target)
    device = target.flat.device
    sends: list[tuple[int, Tensor]] = []
    receives: list[tuple[int, Tensor]] = []
    arriving: list[tuple[int, int, Tensor]] = []
    for peer, block in outgoing:
        assert source is not None
        sends += [(peer, tensor) for tensor in source.kinds_of(block)]
        sends.append((peer, torch.tensor([source.crc_of(block)], dtype=torch.int64, device=device)))
    for peer, block in incoming:
        receives += [(peer, tensor) for tensor in target.kinds_of(block)]
        expected = torch.zeros(1, dtype=torch.int64, device=device)
        receives.append((peer, expected))
        arriving.append((peer, block, expected))
    legs.exchange(sends, receives)
    for peer, block, expected in arriving:
        found = target.crc_of(block)
        if found != int(expected):
            raise StateError(
                "TransferCorrupt",
                f"block {block} arrived from rank {peer} with crc32c {found:08x}, sent {int(expected):08x}",
            )
        target.publish(block)
    return _state_bytes(sends), _state_bytes(receives)


def check_moves(held: Held, kept: Iterable[int], moves: Sequence[TransferMove]) -> None:
    """StateError unless every held block is either kept (is here already) or brought by exactly one move."""
    brought = [block for move in moves if move.target_rank == held.rank for block in blocks_of(move)]
    have = set(kept)
    missing = sorted(set(held.blocks) - have - set(brought))
    twice = sorted({block for block in brought if brought.count(block) > 1 or block in have})
    if missing or twice:
        raise StateError(
            "TransferIncomplete",
            f"rank {held.rank}: the transfer plan leaves out blocks {missing[:8]}, brings {twice[:8]} twice",
        )


def _check(
    outgoing: Sequence[tuple[int, int]],
    incoming: Sequence[tuple[int, int]],
    source: BlockState | None,
    target: BlockState,
) -> None:
    absent = sorted({block for _, block in outgoing if source is None or block not in source.master})
    if absent:
        raise StateError(
            "TransferImpossible", f"the transfer plan takes blocks {absent[:8]}, which are not held here"
        )
    foreign = sorted({block for _, block in incoming if block not in target.master})
    if foreign:
        raise StateError(
            "TransferForeign", f"the transfer plan brings blocks {foreign[:8]}, which the map gives to others"
        )


def _state_bytes(legs: Sequence[tuple[int, Tensor]]) -> int:
    return sum(tensor.nbytes for _, tensor in legs if tensor.dtype == torch.float32)
