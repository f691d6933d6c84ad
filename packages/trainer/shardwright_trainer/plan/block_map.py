"""Who holds which block. Ownership is only ever looked up here; no formula gives it."""

from __future__ import annotations

from collections.abc import Iterator

from shardwright_trainer.plan.config import BlockMap, BlockRun, TransferMove


def check(block_map: BlockMap, world_size: int | None = None) -> None:
    """Raises ValueError naming every gap, overlap, repeated or unknown holder of the map, all at once."""
    complaints = list(_complaints(block_map, world_size))
    if complaints:
        raise ValueError("the block map is refused: " + "; ".join(complaints))


def _complaints(block_map: BlockMap, world_size: int | None) -> Iterator[str]:
    if block_map.block_elements <= 0 or block_map.block_elements & (block_map.block_elements - 1):
        yield f"block size {block_map.block_elements} is not a power of two"
        return
    needed = -(-block_map.elements // block_map.block_elements)
    if block_map.elements <= 0 or needed != block_map.blocks:
        yield f"{block_map.elements} elements need {needed} blocks, the map says {block_map.blocks}"
    expected = 0
    for run in block_map.runs:
        where = f"run at block {run.first_block}"
        if run.blocks <= 0:
            yield f"{where} has {run.blocks} blocks"
        if run.first_block > expected:
            yield f"blocks {expected} to {run.first_block - 1} have no holder"
        if run.first_block < expected:
            yield f"{where} overlaps the run before it, which ends at block {expected}"
        expected = run.first_block + max(run.blocks, 0)
        yield from _holder_complaints(run, where, world_size)
    if expected < block_map.blocks:
        yield f"blocks {expected} to {block_map.blocks - 1} have no holder"
    if expected > block_map.blocks:
        yield f"the runs end at block {expected}, the map has {block_map.blocks}"


def _holder_complaints(run: BlockRun, where: str, world_size: int | None) -> Iterator[str]:
    if not run.holders:
        yield f"{where} has no holder"
    if len(set(run.holders)) < len(run.holders):
        yield f"{where} names a holder twice: {list(run.holders)}"
    for rank in run.holders:
        if rank < 0 or (world_size is not None and rank >= world_size):
            yield f"{where} names rank {rank}, which is outside the world of {world_size}"


def owned_blocks(block_map: BlockMap, rank: int) -> list[int]:
    """Blocks the rank owns (is the first holder of), ascending."""
    return [block for run in block_map.runs if run.holders[0] == rank for block in blocks_of(run)]


def held_blocks(block_map: BlockMap, rank: int) -> list[int]:
    """Blocks the rank owns or holds a replica of, ascending."""
    return [block for run in block_map.runs if rank in run.holders for block in blocks_of(run)]


def holders_of(block_map: BlockMap, block: int) -> tuple[int, ...]:
    """The owner first, then the replica holders."""
    for run in block_map.runs:
        if run.first_block <= block < run.first_block + run.blocks:
            return run.holders
    raise ValueError(f"block {block} is not in the map")


def blocks_of(run: BlockRun | TransferMove) -> range:
    """The block numbers of a run, or of a move."""
    return range(run.first_block, run.first_block + run.blocks)
