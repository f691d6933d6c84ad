"""How a rank takes up the state of a generation: settle, take, verify. Nothing of the old state is lost
before commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.blocks.state import BlockState
from shardwright_trainer.blocks.transfer import check_moves, move_blocks
from shardwright_trainer.files.crc import crc32c
from shardwright_trainer.files.restore import restore
from shardwright_trainer.files.swc_errors import CheckpointError
from shardwright_trainer.plan import block_map as maps
from shardwright_trainer.plan.config import (
    CheckpointSource,
    Evidence,
    FlatLayout,
    GenerationPlan,
    LiveSource,
    RankConfig,
)
from shardwright_trainer.plan.lanes import check_lanes
from shardwright_trainer.rank.engine_gang import Gang
from shardwright_trainer.rank.errors import StateError


@dataclass(slots=True)
class Membership:
    """This rank's part in one generation."""

    plan: GenerationPlan
    gang: Gang
    held: tuple[Held, ...]
    """By rank; what everybody holds, looked up in the map."""
    state: BlockState

    @property
    def mine(self) -> Held:
        return self.held[self.plan.rank]


def check_plan(plan: GenerationPlan, layout: FlatLayout, config: RankConfig) -> None:
    """StateError for a map or lanes that do not fit this job; nothing is allocated before this passes."""
    block_map = plan.block_map
    try:
        maps.check(block_map, plan.world_size)
        check_lanes(plan, config.recipe.lanes)
    except ValueError as error:
        raise StateError("BlockMapRefused", str(error)) from error
    if block_map.elements != layout.elements or block_map.block_elements != config.block_elements:
        raise StateError(
            "BlockMapRefused",
            f"the block map is of {block_map.elements} elements in blocks of {block_map.block_elements}; "
            f"the model has {layout.elements} in blocks of {config.block_elements}",
        )
    partial = [run.first_block for run in block_map.runs if len(run.holders) < plan.world_size]
    if config.zero_stage == 0 and partial:
        raise StateError(
            "BlockMapRefused",
            f"in stage 0 every rank holds every block; block {partial[0]} has fewer holders than ranks",
        )
    if not 0 <= plan.rank < plan.world_size + plan.leavers:
        raise StateError("BlockMapRefused", f"rank {plan.rank} is outside the world of {plan.world_size}")
    if plan.leavers and not isinstance(plan.source, LiveSource):
        raise StateError(
            "PlanRefused", "ranks that leave take part where state moves between living ranks only"
        )


def take_live(
    source: LiveSource, gang: Gang, held: Held, flat: Tensor, old: BlockState | None
) -> tuple[BlockState, int, int]:
    """(state, bytes sent, bytes received): kept blocks are shared with the old state, the others come by
    the plan."""
    check_moves(held, () if old is None else old.held.blocks, source.moves)
    state = BlockState.allocate(held, flat, kept=old)
    sent, received = move_blocks(gang, source.moves, old, state)
    return state, sent, received


def leaver_evidence(version: int, sent: int) -> Evidence:
    """Of a rank that gave its blocks away and holds none in the new generation."""
    return Evidence(
        owned_blocks=0,
        replica_blocks=0,
        optimizer_bytes=0,
        received_bytes=0,
        sent_bytes=sent,
        version=version,
        owned_crc32c=0,
    )


def take_checkpoint(
    plan: GenerationPlan, source: CheckpointSource, layout: FlatLayout, held: Held, flat: Tensor
) -> BlockState:
    """The held blocks of a committed checkpoint, every byte of it verified by its CRCs."""
    try:
        restored = restore(source.run_directory, source.commit, layout, plan.block_map, plan.rank)
    except (CheckpointError, OSError) as error:
        raise StateError(getattr(error, "code", "CheckpointUnreadable"), str(error)) from error
    if restored.step != source.step:
        raise StateError(
            "CheckpointStep",
            f"commit {source.commit} is of step {restored.step}, the generation starts at {source.step}",
        )
    state = BlockState.allocate(held, flat)
    state.load(restored.blocks)
    for block in held.blocks:
        state.publish(block)
    return state


def gather_parameters(gang: Gang, held: Sequence[Held], flat: Tensor) -> None:
    """Owners send the parameters of their blocks to every rank that does not hold them, buffer to buffer."""
    sends: list[tuple[int, Tensor]] = []
    receives: list[tuple[int, Tensor]] = []
    for run in held[0].block_map.runs:
        first, last = run.first_block, run.first_block + run.blocks
        begin = first * held[0].block_map.block_elements
        end = min(last * held[0].block_map.block_elements, held[0].block_map.elements)
        others = [rank for rank in range(gang.world_size) if rank not in run.holders]
        if run.holders[0] == gang.rank:
            sends += [(rank, flat[begin:end]) for rank in others]
        elif gang.rank in others:
            receives.append((run.holders[0], flat[begin:end]))
    gang.exchange(sends, receives)


def verify(gang: Gang, held: Sequence[Held], state: BlockState) -> list[int]:
    """CRC-32Cs of this rank's held blocks, after checking copies against owners and parameters across ranks.

    StateError names the blocks whose replicas differ, or the ranks whose parameters do.
    """
    mine = state.crcs(state.held.blocks)
    parameters = crc32c(state.flat.view(torch.uint8).cpu().numpy())
    payload = torch.tensor([parameters, *mine], dtype=torch.int64, device=state.flat.device)
    parts = [part.tolist() for part in gang.gather(payload, [1 + len(one.blocks) for one in held])]
    others = [rank for rank, part in enumerate(parts) if part[0] != parts[0][0]]
    if others:
        raise StateError("ParametersDiffer", f"the parameters of ranks {others} differ from those of rank 0")
    found = [dict(zip(one.blocks, part[1:], strict=True)) for one, part in zip(held, parts, strict=True)]
    wrong = [
        block
        for run in held[0].block_map.runs
        for block in range(run.first_block, run.first_block + run.blocks)
        if any(found[rank][block] != found[run.holders[0]][block] for rank in run.holders[1:])
    ]
    if wrong:
        raise StateError("ReplicaDiffers", f"copies of blocks {wrong[:8]} differ from their owners'")
    return mine


def evidence_of(
    membership: Membership, version: int, crcs: Sequence[int], sent: int, received: int
) -> Evidence:
    """What this rank really has. optimizer_bytes is measured on the tensors it holds."""
    held = membership.mine
    by_block = dict(zip(held.blocks, crcs, strict=True))
    owned = np.array([by_block[block] for block in held.owned], dtype="<u4")
    return Evidence(
        owned_blocks=len(held.owned),
        replica_blocks=len(held.blocks) - len(held.owned),
        optimizer_bytes=membership.state.optimizer_bytes,
        received_bytes=received,
        sent_bytes=sent,
        version=version,
        owned_crc32c=crc32c(owned.view(np.uint8)),
    )
