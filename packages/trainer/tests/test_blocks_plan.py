"""Flat space, block map look-ups and lane covers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright_trainer.plan import block_map as maps
from shardwright_trainer.plan.config import BlockMap, BlockRun, FreshSource, GenerationPlan, LaneRange
from shardwright_trainer.plan.flat import block_bounds, build_layout, run_bounds, runs_of
from shardwright_trainer.plan.lanes import LaneStack, check_lanes, cover, lanes_by_rank


@pytest.mark.parametrize(("span", "nodes"), [
    ((0, 21), [(0, 16), (16, 4), (20, 1)]),
    ((21, 43), [(21, 1), (22, 2), (24, 8), (32, 8), (40, 2), (42, 1)]),
    ((43, 64), [(43, 1), (44, 4), (48, 16)]),
    ((0, 6), [(0, 4), (4, 2)]),
    ((6, 11), [(6, 2), (8, 2), (10, 1)]),
    ((11, 16), [(11, 1), (12, 4)]),
    ((5, 5), []),
    ((7, 3), []),
])  # fmt: skip
def test_cover_vectors(span: tuple[int, int], nodes: list[tuple[int, int]]) -> None:
    assert cover(*span) == nodes


@given(st.integers(0, 200), st.integers(0, 200))
def test_cover_is_what_the_stack_leaves(lo: int, width: int) -> None:
    stack: LaneStack[int] = LaneStack(lambda left, right: left + right)
    for lane in range(lo, lo + width):
        stack.push(lane, 1)
    assert [(node, size) for node, size, _ in stack.nodes] == cover(lo, lo + width)
    assert all(size == value for _, size, value in stack.nodes)


def test_the_stack_refuses_gaps() -> None:
    stack: LaneStack[int] = LaneStack(lambda left, right: left + right)
    stack.push(0, 1)
    with pytest.raises(ValueError, match="lane 0 was pushed after lane 0"):
        stack.push(0, 1)
    stack.push(2, 1)
    with pytest.raises(ValueError, match="lanes 1 to 1 are missing"):
        stack.finish()


def test_layout_is_dense_and_named_once() -> None:
    layout = build_layout([("a", (2, 3), "float32"), ("b", (), "float32"), ("c", (4,), "float32")])
    assert [(one.begin, one.end) for one in layout.tensors] == [(0, 6), (6, 7), (7, 11)]
    assert layout.elements == 11
    other = build_layout([("a", (3, 2), "float32"), ("b", (), "float32"), ("c", (4,), "float32")])
    assert other.fingerprint != layout.fingerprint
    with pytest.raises(ValueError, match="named twice in the flat space: a"):
        build_layout([("a", (2,), "float32"), ("a", (2,), "float32")])
    with pytest.raises(ValueError, match="nothing is trainable"):
        build_layout([])


def test_the_last_block_is_short() -> None:
    block_map = _map((0, 3, (0,)))
    assert [block_bounds(block_map, block) for block in range(3)] == [(0, 4), (4, 8), (8, 10)]
    assert run_bounds(block_map, 1, 2) == (4, 10)
    with pytest.raises(ValueError, match=r"block 3 is outside \[0, 3\)"):
        block_bounds(block_map, 3)


@given(st.sets(st.integers(0, 30)))
def test_runs_are_the_blocks(blocks: set[int]) -> None:
    runs = list(runs_of(sorted(blocks)))
    assert [block for first, count in runs for block in range(first, first + count)] == sorted(blocks)
    assert all(first + count < following for (first, count), (following, _) in pairwise(runs))


def test_holders_are_looked_up() -> None:
    block_map = _map((0, 1, (1, 0)), (1, 2, (0,)))
    maps.check(block_map, 2)
    assert maps.owned_blocks(block_map, 0) == [1, 2]
    assert maps.owned_blocks(block_map, 1) == [0]
    assert maps.held_blocks(block_map, 0) == [0, 1, 2]
    assert maps.holders_of(block_map, 0) == (1, 0)


@pytest.mark.parametrize(("runs", "said"), [
    ([(0, 1, (0,))], "blocks 1 to 2 have no holder"),
    ([(1, 2, (0,))], "blocks 0 to 0 have no holder"),
    ([(0, 2, (0,)), (1, 2, (0,))], "overlaps"),
    ([(0, 4, (0,))], "end at block 4"),
    ([(0, 3, ())], "has no holder"),
    ([(0, 3, (0, 0))], "names a holder twice"),
    ([(0, 3, (2,))], "outside the world of 2"),
    ([(0, 0, (0,)), (0, 3, (0,))], "has 0 blocks"),
])  # fmt: skip
def test_bad_maps_are_refused(runs: list[tuple[int, int, tuple[int, ...]]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        maps.check(_map(*runs), 2)


def test_sizes_of_a_map_must_agree() -> None:
    with pytest.raises(ValueError, match="10 elements need 3 blocks, the map says 4"):
        maps.check(BlockMap(elements=10, block_elements=4, blocks=4, runs=()), 1)
    with pytest.raises(ValueError, match="not a power of two"):
        maps.check(BlockMap(elements=10, block_elements=5, blocks=2, runs=()), 1)


@pytest.mark.parametrize(("ranges", "said"), [
    ([(0, 0, 4), (1, 4, 8)], None),
    ([(1, 4, 8), (0, 0, 4)], None),
    ([(0, 0, 8), (1, 8, 8)], None),
    ([(0, 0, 4), (1, 5, 8)], "rank 1 starts at lane 5, expected 4"),
    ([(0, 0, 4), (1, 3, 8)], "rank 1 starts at lane 3, expected 4"),
    ([(0, 0, 4), (0, 4, 8)], "covered by 2 ranges"),
    ([(0, 0, 4)], "expected 8 lanes"),
    ([(2, 0, 8)], "outside the world"),
])  # fmt: skip
def test_lanes_cover_the_step_once(ranges: list[tuple[int, int, int]], said: str | None) -> None:
    lanes = tuple(LaneRange(rank=rank, begin=begin, end=end) for rank, begin, end in ranges)
    plan = GenerationPlan(
        generation=1, rank=0, world_size=2, block_map=_map((0, 3, (0,))), lanes=lanes, source=FreshSource(),
        store_host="", store_port=0, store_prefix="", save_every_steps=1, total_steps=1,
        collective_timeout_seconds=1.0,
    )  # fmt: skip
    if said is None:
        check_lanes(plan, 8)
        rank, begin, end = ranges[0]
        assert lanes_by_rank(plan, 8)[rank] == tuple(range(begin, end))
        assert sorted(lane for hand in lanes_by_rank(plan, 5) for lane in hand) == [0, 1, 2, 3, 4]
    else:
        with pytest.raises(ValueError, match=said):
            check_lanes(plan, 8)


@pytest.mark.parametrize(("counts", "limit", "hands"), [
    ([2, 2, 2, 2], 8, [(0, 4), (1, 5), (2, 6), (3, 7)]),
    ([3, 3, 2], 8, [(0, 3, 6), (1, 4, 7), (2, 5)]),
    ([1, 4, 1], 6, [(0,), (1, 3, 4, 5), (2,)]),
    ([0, 2, 2], 4, [(), (0, 2), (1, 3)]),
    ([2, 2, 2, 2], 5, [(0, 4), (1,), (2,), (3,)]),
])  # fmt: skip
def test_lanes_are_dealt_in_rounds(counts: list[int], limit: int, hands: list[tuple[int, ...]]) -> None:
    begins = [sum(counts[:rank]) for rank in range(len(counts) + 1)]
    lanes = tuple(
        LaneRange(rank=rank, begin=begins[rank], end=begins[rank + 1]) for rank in range(len(counts))
    )
    plan = GenerationPlan(
        generation=1, rank=0, world_size=len(counts), block_map=_map((0, 3, (0,))), lanes=lanes,
        source=FreshSource(), store_host="", store_port=0, store_prefix="", save_every_steps=1, total_steps=1,
        collective_timeout_seconds=1.0,
    )  # fmt: skip
    assert list(lanes_by_rank(plan, limit, dealt=True)) == hands


def _map(*runs: tuple[int, int, tuple[int, ...]]) -> BlockMap:
    """10 elements in blocks of 4."""
    made = tuple(
        BlockRun(first_block=first, blocks=blocks, holders=holders) for first, blocks, holders in runs
    )
    return BlockMap(elements=10, block_elements=4, blocks=3, runs=made)
