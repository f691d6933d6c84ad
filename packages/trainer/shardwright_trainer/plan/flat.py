"""The flat space: trainable tensors in canonical order, concatenated and cut into blocks of equal size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from math import prod

from shardwright_trainer.plan.config import BlockMap, FlatLayout, FlatTensor


def build_layout(named_shapes: Iterable[tuple[str, tuple[int, ...], str]]) -> FlatLayout:
    """Lays the tensors (fqn, shape, dtype) one after another, without padding between them.

    The order given is the order of the space. Raises ValueError when a name comes twice or nothing is
    trainable.
    """
    rows = [(fqn, tuple(shape), dtype) for fqn, shape, dtype in named_shapes]
    names = [fqn for fqn, _, _ in rows]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"tensors named twice in the flat space: {', '.join(twice)}")
    tensors: list[FlatTensor] = []
    begin = 0
    for fqn, shape, _ in rows:
        end = begin + prod(shape)
        tensors.append(FlatTensor(fqn=fqn, shape=shape, begin=begin, end=end))
        begin = end
    if begin == 0:
        raise ValueError("nothing is trainable: the flat space has no element")
    return FlatLayout(tensors=tuple(tensors), elements=begin, fingerprint=_fingerprint(rows))


def _fingerprint(rows: list[tuple[str, tuple[int, ...], str]]) -> str:
    text = json.dumps([[fqn, list(shape), dtype] for fqn, shape, dtype in rows], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def block_bounds(block_map: BlockMap, block: int) -> tuple[int, int]:
    """Elements [begin, end) of a block; the last one may be short: padding is never stored."""
    if not 0 <= block < block_map.blocks:
        raise ValueError(f"block {block} is outside [0, {block_map.blocks})")
    begin = block * block_map.block_elements
    return begin, min(begin + block_map.block_elements, block_map.elements)


def run_bounds(block_map: BlockMap, first_block: int, blocks: int) -> tuple[int, int]:
    """Elements [begin, end) of a run of neighbouring blocks."""
    return block_bounds(block_map, first_block)[0], block_bounds(block_map, first_block + blocks - 1)[1]


def runs_of(blocks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending block numbers as runs (first block, number of blocks)."""
    first = previous = -1
    for block in blocks:
        if previous >= 0 and block == previous + 1:
            previous = block
            continue
        if previous >= 0:
            yield first, previous - first + 1
        first = previous = block
    if previous >= 0:
        yield first, previous - first + 1
