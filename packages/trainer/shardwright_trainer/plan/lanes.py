"""The canonical binary tree over lanes: which partial sums a rank sends, and in which order they are added.

Node (lo, size) stands for the lanes [lo, lo + size). The result of the tree depends on the leaves only,
never on who held which lane: trees are perfect over [0, 2^k), and a node without a right child has the
value of its left one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from shardwright_trainer.plan.config import GenerationPlan

Value = TypeVar("Value")


class Merge(Protocol[Value]):
    """Adds two sums; may reuse the memory of either."""

    def __call__(self, left: Value, right: Value) -> Value: ...


@dataclass(slots=True)
class LaneStack(Generic[Value]):
    """Sums of finished lanes, merged as soon as two are aligned siblings; holds at most 1 + log2(lanes)
    values."""

    merge: Merge[Value]
    nodes: list[tuple[int, int, Value]] = field(default_factory=list)

    def push(self, lo: int, value: Value, size: int = 1) -> None:
        """Adds node (lo, size); nodes come in ascending order of lo."""
        if self.nodes and lo < self.nodes[-1][0] + self.nodes[-1][1]:
            raise ValueError(f"lane {lo} was pushed after lane {self.nodes[-1][0] + self.nodes[-1][1] - 1}")
        self.nodes.append((lo, size, value))
        while len(self.nodes) >= 2 and _are_siblings(self.nodes[-2], self.nodes[-1]):
            _, right_size, right = self.nodes.pop()
            lo, size, left = self.nodes.pop()
            self.nodes.append((lo, size + right_size, self.merge(left, right)))

    def take_sibling(self, lo: int) -> Value | None:
        """Removes and returns the value of lane lo − 1 if lane `lo` would be merged with it at once, else
        None.

        For a caller that can add lane `lo` into that value itself; the sum is pushed back as node (lo − 1,
        2).
        """
        if (
            self.nodes
            and self.nodes[-1][1] == 1
            and _are_siblings(self.nodes[-1], (lo, 1, self.nodes[-1][2]))
        ):
            return self.nodes.pop()[2]
        return None

    def finish(self) -> Value:
        """The root. The nodes pushed cover [0, m) without gaps; what is absent on the right is passed
        through."""
        expected = 0
        for lo, size, _ in self.nodes:
            if lo != expected:
                raise ValueError(f"lanes {expected} to {lo - 1} are missing from the tree")
            expected = lo + size
        if not self.nodes:
            raise ValueError("a tree without leaves has no sum")
        value = self.nodes.pop()[2]
        while self.nodes:
            value = self.merge(self.nodes.pop()[2], value)
        return value


def _are_siblings(left: tuple[int, int, Value], right: tuple[int, int, Value]) -> bool:
    return left[1] == right[1] and left[0] % (2 * left[1]) == 0 and right[0] == left[0] + left[1]


def cover(lo: int, hi: int) -> list[tuple[int, int]]:
    """The maximal aligned nodes (lo, size) of the lanes [lo, hi), ascending; empty when hi <= lo."""
    nodes: list[tuple[int, int]] = []
    while lo < hi:
        size = lo & -lo or 1 << (hi - lo).bit_length()
        while size > hi - lo:
            size //= 2
        nodes.append((lo, size))
        lo += size
    return nodes


def lanes_by_rank(plan: GenerationPlan, limit: int, *, dealt: bool = False) -> tuple[tuple[int, ...], ...]:
    """Lanes below `limit` of each rank, ascending; together they are 0 to limit - 1.

    The plan says how many lanes a rank takes. Contiguous: exactly those of its range. Dealt: in rounds, each
    round giving the next lanes to the ranks that still have some to take, one each in rank order: what all
    ranks have computed after a round is then a prefix of the lanes, so its tree has merged almost all of it.
    """
    ranges = {entry.rank: (entry.begin, entry.end) for entry in plan.lanes if entry.end > entry.begin}
    spans = [ranges.get(rank, (0, 0)) for rank in range(plan.world_size)]
    if not dealt:
        return tuple(tuple(range(min(begin, limit), min(end, limit))) for begin, end in spans)
    hands: list[list[int]] = [[] for _ in spans]
    lane = 0
    for turn in range(max(end - begin for begin, end in spans)):
        for hand, (begin, end) in zip(hands, spans, strict=True):
            if turn < end - begin:
                if lane < limit:
                    hand.append(lane)
                lane += 1
    return tuple(tuple(hand) for hand in hands)


def check_lanes(plan: GenerationPlan, lanes: int) -> None:
    """Raises ValueError unless the ranks' ranges cover [0, lanes) once, each rank at most once."""
    ranges = sorted((entry.begin, entry.end, entry.rank) for entry in plan.lanes if entry.end > entry.begin)
    expected = 0
    for begin, end, rank in ranges:
        if begin != expected:
            raise ValueError(f"lanes are refused: rank {rank} starts at lane {begin}, expected {expected}")
        if not 0 <= rank < plan.world_size:
            raise ValueError(f"lanes are refused: rank {rank} is outside the world of {plan.world_size}")
        expected = end
    if expected != lanes or len({rank for _, _, rank in ranges}) < len(ranges):
        raise ValueError(
            f"lanes are refused: [0, {expected}) is covered by {len(ranges)} ranges, expected {lanes} lanes"
        )
