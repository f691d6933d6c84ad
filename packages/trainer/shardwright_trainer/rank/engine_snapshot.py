"""Snapshots: blocks copied at a step boundary into memory that the agent keeps, and taken up from there.

Which rank copies which block is the snapshot map's; a block that a rank does not hold live comes from its
owner, by the same exchange as a transfer between generations.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.blocks.state import KINDS, BlockState
from shardwright_trainer.blocks.transfer import check_moves, move_blocks
from shardwright_trainer.files.checkpoint import read_staged, stage_into
from shardwright_trainer.files.snapshot_memory import memory_name, new_memory
from shardwright_trainer.files.staged import StagedIndex
from shardwright_trainer.files.swc_errors import SaveError
from shardwright_trainer.plan.block_map import blocks_of, held_blocks
from shardwright_trainer.plan.config import (
    BlockMap,
    GenerationPlan,
    Snapshot,
    SnapshotFile,
    SnapshotSource,
    TransferMove,
)
from shardwright_trainer.plan.flat import block_bounds
from shardwright_trainer.rank.engine_gang import Gang
from shardwright_trainer.rank.errors import StateError

WINDOW_BYTES = 64 << 20
"""Of state on the device at a time, on its way from an owner to its partner."""
STATE_BYTES_PER_ELEMENT = 12


class SnapshotWork:
    """The snapshots of one generation on one rank."""

    def __init__(self, plan: GenerationPlan, held: Sequence[Held], snapshot_map: BlockMap) -> None:
        self._plan = plan
        self._held = held[plan.rank]
        self._kept = tuple(held_blocks(snapshot_map, plan.rank))
        self._windows = _windows(plan.block_map, partner_moves(held, snapshot_map))
        self._taken_step = 0
        self._open: list[int] = []
        """Descriptors of the latest snapshots: the agent opens them by this process's number."""

    def take(self, state: BlockState, gang: Gang, step: int, recipe_sha256: str) -> Snapshot:
        """Copies this rank's part. Collective: PeerLost when a peer goes; then the snapshot is of no use.

        StateError when memory is full: this rank has no part of this snapshot, its peers have.
        """
        complete = min(int(part) for part in gang.gather(*self._taken(gang, state)))
        arrays = {kind: self._own(state, kind) for kind in KINDS}
        for window in self._windows:
            for kind, blocks in receive_copies(gang, window, state).items():
                arrays[kind] |= blocks
        plan = self._plan
        try:
            with new_memory(memory_name(plan.generation, step, plan.rank)) as descriptor:
                index_json, size = stage_into(
                    descriptor,
                    arrays,
                    elements=plan.block_map.elements,
                    block_elements=plan.block_map.block_elements,
                )
        except (SaveError, OSError) as error:
            raise StateError("SnapshotFailed", f"no snapshot of step {step}: {error}") from error
        self._taken_step = step
        self._keep_open(descriptor)
        return Snapshot(
            generation=plan.generation,
            step=step,
            rank=plan.rank,
            path=f"/proc/{os.getpid()}/fd/{descriptor}",
            index_json=index_json,
            bytes=size,
            recipe_sha256=recipe_sha256,
            complete_step=complete,
        )

    def close(self) -> None:
        """What the agent has opened stays with the agent."""
        self._keep_open()

    def _taken(self, gang: Gang, state: BlockState) -> tuple[torch.Tensor, list[int]]:
        mine = torch.tensor([self._taken_step], dtype=torch.int64, device=state.flat.device)
        return mine, [1] * gang.world_size

    def _own(self, state: BlockState, kind: str) -> dict[int, object]:
        tensors: dict[int, torch.Tensor] = getattr(state, kind)
        return {block: tensors[block].cpu().numpy() for block in self._kept if block in tensors}

    def _keep_open(self, *descriptors: int) -> None:
        # Two: the agent may be a step behind in reading, never more, since a step takes every rank.
        latest = [*self._open, *descriptors][-2:] if descriptors else []
        for old in set(self._open) - set(latest):
            os.close(old)
        self._open = latest


def partner_moves(held: Sequence[Held], snapshot_map: BlockMap) -> list[TransferMove]:
    """From owners to those who keep a copy of a block they do not hold live; the same list on every rank."""
    owner_of = {block: one.rank for one in held for block in one.owned}
    missing = [
        (owner_of[block], holder, block)
        for run in snapshot_map.runs
        for block in blocks_of(run)
        for holder in run.holders
        if block not in held[holder].packed
    ]
    return [
        TransferMove(id=number, first_block=block, blocks=1, source_rank=owner, target_rank=holder, bytes=0)
        for number, (owner, holder, block) in enumerate(missing)
    ]


def receive_copies(
    gang: Gang, moves: Sequence[TransferMove], state: BlockState
) -> dict[str, dict[int, object]]:
    """kind → block → array of what the moves bring to this rank; sends what they take from it."""
    brought = [move.first_block for move in moves if move.target_rank == gang.rank]
    target = BlockState(state.held, state.flat, {}, {}, {})
    for block in brought:
        length = state.slice_of(block).numel()
        for kind in KINDS:
            getattr(target, kind)[block] = torch.empty(length, dtype=torch.float32, device=state.flat.device)
    # Publishing on arrival writes what the gather has written already: parameters are rounded masters.
    move_blocks(gang, moves, state, target)
    return {kind: {block: getattr(target, kind)[block].cpu().numpy() for block in brought} for kind in KINDS}


def _windows(block_map: BlockMap, moves: Sequence[TransferMove]) -> list[list[TransferMove]]:
    windows: list[list[TransferMove]] = []
    size = WINDOW_BYTES
    for move in moves:
        begin, end = block_bounds(block_map, move.first_block)
        length = STATE_BYTES_PER_ELEMENT * (end - begin)
        if size + length > WINDOW_BYTES:
            windows.append([])
            size = 0
        windows[-1].append(move)
        size += length
    return windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """What this member's agent keeps of the snapshot that a generation starts from."""

    source: SnapshotSource
    files: tuple[SnapshotFile, ...]
    recipe_sha256: str


def take_snapshot(
    resting: Resting, gang: Gang, held: Held, flat: torch.Tensor
) -> tuple[BlockState, int, int]:
    """(state, bytes sent, bytes received). StateError when a block is not there, not of this job, or does not
    verify."""
    moves = resting.source.moves
    brought = {block for move in moves if move.target_rank == gang.rank for block in blocks_of(move)}
    given = {block for move in moves if move.source_rank == gang.rank for block in blocks_of(move)}
    local = [block for block in held.blocks if block not in brought]
    check_moves(held, local, moves)
    kept = _read(resting, held, {*local, *given}, flat)
    state = BlockState.allocate(held, flat)
    for block in local:
        for target, source in zip(state.kinds_of(block), kept.kinds_of(block), strict=True):
            target.copy_(source)
        state.publish(block)
    sent, received = move_blocks(gang, moves, kept, state)
    return state, sent, received


def _read(resting: Resting, held: Held, wanted: Iterable[int], flat: torch.Tensor) -> BlockState:
    source, block_map = resting.source, held.block_map
    kept = BlockState(held, flat, {}, {}, {})
    missing = set(wanted)
    for file in resting.files:
        index = StagedIndex.from_json(file.index_json)
        is_ours = (file.generation, file.step) == (source.generation, source.step)
        fits = (index.elements, index.block_elements) == (block_map.elements, block_map.block_elements)
        if not is_ours or not fits or file.recipe_sha256 != resting.recipe_sha256:
            raise StateError(
                "SnapshotForeign",
                f"the agent's copy of step {file.step}, generation {file.generation}, is of another "
                f"snapshot, layout or recipe than step {source.step}, generation {source.generation}",
            )
        here = missing.intersection(index.blocks())
        try:
            arrays = read_staged(file.path, file.index_json, here)
        except (SaveError, OSError, ValueError) as error:
            raise StateError("SnapshotCorrupt", f"the agent's copy of step {file.step}: {error}") from error
        for kind in KINDS:
            for block in here:
                getattr(kept, kind)[block] = torch.from_numpy(arrays[kind][block]).to(flat.device)
        missing -= here
    if missing:
        raise StateError(
            "SnapshotMissing",
            f"the agent has no copy of blocks {sorted(missing)[:8]} of step {source.step}, "
            f"generation {source.generation}",
        )
    return kept
