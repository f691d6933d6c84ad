"""Tree, norm, clip and AdamW against the vectors of the numerics page, bit by bit where it says exact."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shardwright_trainer.blocks.adamw import AdamW
from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.blocks.norm import clip_factor, norm_of, scale_and_square
from shardwright_trainer.blocks.reduce import Arrivals, LaneSum, merge, reduce_to_holders
from shardwright_trainer.blocks.release import Partials, ReleaseSum
from shardwright_trainer.plan.config import BlockMap, BlockRun, FreshSource, GenerationPlan, LaneRange
from shardwright_trainer.plan.lanes import LaneStack, cover, lanes_by_rank
from shardwright_trainer.plan.memory import release_partials_max

U = 2.0**-24


class Loopback:
    """All ranks of a reduction in one process: runs them as coroutines would, one exchange at a time."""

    def __init__(
        self, rank: int, world_size: int, mail: dict[tuple[int, int], list[Tensor]], collect: bool
    ) -> None:
        self.rank, self.world_size, self._mail, self._collect = rank, world_size, mail, collect

    def exchange(self, sends: Sequence[tuple[int, Tensor]], receives: Sequence[tuple[int, Tensor]]) -> None:
        if self._collect:
            for peer, tensor in sends:
                self._mail.setdefault((self.rank, peer), []).append(tensor.clone())
            return
        for peer, tensor in receives:
            tensor.copy_(self._mail[peer, self.rank].pop(0))


def _tree(leaves: Sequence[float]) -> float:
    stack: LaneStack[Tensor] = LaneStack(merge)
    for lane, leaf in enumerate(leaves):
        stack.push(lane, torch.tensor([leaf], dtype=torch.float32))
    return float(stack.finish())


def _bits(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


@pytest.mark.parametrize(("leaves", "bits", "running"), [
    ([1, 1e8, -1e8, 1], 0x00000000, 0x3F800000),
    ([1, U, U, U], 0x3F800001, 0x3F800000),
    ([1, U, U, U, U], 0x3F800002, 0x3F800000),
    ([0.1] * 10, 0x3F800000, 0x3F800001),
])  # fmt: skip
def test_tree_vectors(leaves: list[float], bits: int, running: int) -> None:
    assert _bits(_tree(leaves)) == bits
    total = torch.zeros(1)
    for leaf in leaves:
        total += torch.tensor([leaf], dtype=torch.float32)
    assert _bits(float(total)) == running


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_reduction_is_the_tree_whoever_holds_what(data: st.DataObject) -> None:
    world = data.draw(st.integers(1, 6))
    lanes = data.draw(st.integers(1, 19))
    wire = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    cuts = sorted(data.draw(st.lists(st.integers(0, lanes), min_size=world - 1, max_size=world - 1)))
    spans = list(zip([0, *cuts], [*cuts, lanes], strict=True))
    elements, block_elements = data.draw(st.integers(1, 40)), 8
    blocks = -(-elements // block_elements)
    runs = tuple(
        BlockRun(first_block=block, blocks=1, holders=_draw_holders(data, world)) for block in range(blocks)
    )
    block_map = BlockMap(elements=elements, block_elements=block_elements, blocks=blocks, runs=runs)
    leaves = (
        torch.randn(lanes, elements, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
        * 1e3
    )
    expected = _expected(leaves, wire)
    held = [Held.of(block_map, rank) for rank in range(world)]
    mail: dict[tuple[int, int], list[Tensor]] = {}
    for collect in (True, False):
        for rank in range(world):
            sums = LaneSum(wire)
            for lane in range(*spans[rank]):
                sums.push(lane, leaves[lane].clone())
            arrivals = Arrivals(wire, torch.device("cpu"))
            wire_of_rank = Loopback(rank, world, mail, collect)
            covers = [cover(*span) for span in spans]
            found = reduce_to_holders(wire_of_rank, held, covers, sums.nodes(), arrivals)
            if not collect:
                assert found.dtype == torch.float32
                assert torch.equal(found, held[rank].pack(expected))
    assert not any(mail.values())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_released_lanes_end_in_the_same_tree(data: st.DataObject) -> None:
    """Unequal shares, lanes without rows at the end, ranks without lanes; a lane's buffer is spoilt once it
    may be."""
    world = data.draw(st.integers(2, 6))
    lanes = data.draw(st.integers(1, 19))
    limit = data.draw(st.integers(1, lanes))
    wire = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    cuts = sorted(data.draw(st.lists(st.integers(0, lanes), min_size=world - 1, max_size=world - 1)))
    spans = list(zip([0, *cuts], [*cuts, lanes], strict=True))
    block_map = BlockMap(
        elements=21, block_elements=8, blocks=3,
        runs=tuple(BlockRun(first_block=b, blocks=1, holders=_draw_holders(data, world)) for b in range(3)),
    )  # fmt: skip
    by_rank = lanes_by_rank(_plan_of(block_map, spans), limit, dealt=True)
    leaves = (
        torch.randn(lanes, 21, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 9)))) * 1e3
    )
    expected = _expected(leaves[:limit], wire)
    held = [Held.of(block_map, rank) for rank in range(world)]
    mail: dict[tuple[int, int], list[Tensor]] = {}
    for collect in (True, False):
        for rank in range(world):
            partials = Partials(wire, torch.device("cpu"))
            found = _release(Loopback(rank, world, mail, collect), held, by_rank, leaves.to(wire), partials)
            if not collect:
                assert found.dtype == torch.float32
                assert torch.equal(found, held[rank].pack(expected))
    assert not any(mail.values())


def _release(
    wire: Loopback, held: list[Held], by_rank: tuple[tuple[int, ...], ...], leaves: Tensor, partials: Partials
) -> Tensor:
    total = ReleaseSum(wire, held, partials)
    rounds = max(len(hand) for hand in by_rank)
    for turn in range(rounds):
        now = [hand[turn] if turn < len(hand) else None for hand in by_rank]
        lane = now[wire.rank]
        gradient = None if lane is None else leaves[lane].clone()
        total.release(now, gradient, is_last=turn == rounds - 1)
        if gradient is not None and turn < rounds - 1:
            gradient.fill_(torch.nan)
    return total.finish()


@pytest.mark.parametrize("world", range(2, 10))
@pytest.mark.parametrize("lanes", [8, 16, 19, 64])
def test_a_holder_keeps_as_many_partials_as_the_closed_form_says(lanes: int, world: int) -> None:
    runs = (BlockRun(first_block=0, blocks=3, holders=tuple(range(world))),)
    block_map = BlockMap(elements=21, block_elements=8, blocks=3, runs=runs)
    cuts = [lanes // world * rank + min(rank, lanes % world) for rank in range(world + 1)]
    by_rank = lanes_by_rank(_plan_of(block_map, list(pairwise(cuts))), lanes, dealt=True)
    held = [Held.of(block_map, rank) for rank in range(world)]
    needed = []
    for rank in range(world):
        partials = Partials(torch.float32, torch.device("cpu"))
        mail = {(peer, rank): [torch.zeros(21)] * lanes for peer in range(world)}
        _release(Loopback(rank, world, mail, False), held, by_rank, torch.zeros(lanes, 21), partials)
        needed.append(partials.count)
    assert max(needed) == release_partials_max(lanes, world)


def _plan_of(block_map: BlockMap, spans: Sequence[tuple[int, int]]) -> GenerationPlan:
    lanes = tuple(LaneRange(rank=rank, begin=begin, end=end) for rank, (begin, end) in enumerate(spans))
    return GenerationPlan(
        generation=1, rank=0, world_size=len(spans), block_map=block_map, lanes=lanes, source=FreshSource(),
        store_host="", store_port=0, store_prefix="", save_every_steps=1, total_steps=1,
        collective_timeout_seconds=1.0,
    )  # fmt: skip


def _draw_holders(data: st.DataObject, world: int) -> tuple[int, ...]:
    return tuple(data.draw(st.permutations(range(world)))[: data.draw(st.integers(1, world))])


def test_sums_of_one_rank_need_few_buffers() -> None:
    sums = LaneSum(torch.float32)
    live = 0
    most = 0
    for lane in range(64):
        live += 1
        sums.push(lane, torch.ones(3))
        live -= len(sums.freed)
        sums.freed.clear()
        most = max(most, live)
    assert most <= 1 + 6
    assert sums.nodes()[0][:2] == (0, 64) and float(sums.nodes()[0][2][0]) == 64.0


def test_adamw_vector() -> None:
    master, exp_avg, exp_avg_sq = (torch.tensor([value]) for value in (1.0, 0.0, 0.0))
    found = []
    for updates, gradient in ((1, 0.5), (2, 0.25)):
        adamw = AdamW(rate=2e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01, updates=updates)
        adamw.apply(master, exp_avg, exp_avg_sq, torch.tensor([gradient]), torch.empty(1))
        found.append(float(master))
    assert found == pytest.approx([0.9997980000040001, 0.999609564484955], rel=1e-6)


def test_adamw_is_that_of_torch() -> None:
    torch.manual_seed(1)
    start = torch.randn(999)
    theirs = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([theirs], lr=3e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    ours, exp_avg, exp_avg_sq, scratch = start.clone(), torch.zeros(999), torch.zeros(999), torch.empty(999)
    for updates in range(1, 20):
        gradient = torch.randn(999)
        theirs.grad = gradient.clone()
        optimizer.step()
        adamw = AdamW(rate=3e-3, beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1, updates=updates)
        adamw.apply(ours, exp_avg, exp_avg_sq, gradient, scratch)
    assert (ours - theirs.detach()).abs().max() <= 1e-6


def test_clip_vector() -> None:
    gradient = torch.tensor([3.0, 4.0])
    norm = norm_of(scale_and_square(gradient, Held.of(_even_map(2, 1, (0,)), 0), 1.0).tolist())
    factor = clip_factor(norm, 1.0)
    assert norm == 5.0
    assert factor == pytest.approx(0.19999996, rel=1e-7)
    assert (gradient * factor).tolist() == pytest.approx([0.59999988, 0.79999984], rel=1e-7)
    assert clip_factor(0.5, 1.0) == 1.0
    assert clip_factor(1e9, 0.0) == 1.0


def test_square_sums_are_the_owners_and_do_not_depend_on_other_blocks() -> None:
    """Blocks longer than a piece; owned alone, owned among others, held as replicas."""
    elements, block_elements = (1 << 18) + 77, 1 << 17
    flat = torch.randn(elements, generator=torch.Generator().manual_seed(2))
    whole = Held.of(_even_map(elements, block_elements, (0,)), 0)
    scaled = flat.clone()
    expected = scale_and_square(scaled, whole, 0.3)
    assert torch.equal(scaled, flat * 0.3)
    assert expected.dtype == torch.float64
    assert expected.sum().item() == pytest.approx(float((scaled.double() ** 2).sum()), rel=1e-12)
    for rank in range(2):
        held = Held.of(_even_map(elements, block_elements, (0, 1), (1, 0)), rank)
        found = scale_and_square(held.pack(flat).clone(), held, 0.3)
        assert torch.equal(found, expected[list(held.owned)])


def _even_map(elements: int, block_elements: int, *holders: tuple[int, ...]) -> BlockMap:
    """Block b has the holders holders[b mod their number]."""
    blocks = -(-elements // block_elements)
    runs = tuple(
        BlockRun(first_block=block, blocks=1, holders=holders[block % len(holders)])
        for block in range(blocks)
    )
    return BlockMap(elements=elements, block_elements=block_elements, blocks=blocks, runs=runs)


def _expected(leaves: Tensor, wire: torch.dtype) -> Tensor:
    """The definition, recursively, over the padded power of two."""
    width = 1
    while width < len(leaves):
        width *= 2

    def node(lo: int, size: int) -> Tensor | None:
        if size == 1:
            return leaves[lo].to(wire) if lo < len(leaves) else None
        left, right = node(lo, size // 2), node(lo + size // 2, size // 2)
        if left is None or right is None:
            return left
        return (left.float() + right.float()).to(wire)

    root = node(0, width)
    assert root is not None
    return root.float()
