"""Wrong ways to sum the lanes, each planted into a rank process: the hashes must notice every one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shardwright_trainer.plan.lanes import LaneStack


def _sound() -> None:
    """Undoes a mutant of an earlier test in the same process."""
    from shardwright_trainer.blocks import reduce, release
    from shardwright_trainer.plan import lanes
    from shardwright_trainer.rank import engine_reduce

    setattr(engine_reduce, "cover", lanes.cover)  # noqa: B010
    setattr(lanes, "_are_siblings", _siblings)  # noqa: B010
    setattr(reduce, "LaneStack", LaneStack)  # noqa: B010
    setattr(release, "LaneStack", LaneStack)  # noqa: B010
    setattr(engine_reduce, "ReleaseSum", release.ReleaseSum)  # noqa: B010


class _Chain(LaneStack[Any]):
    """Adds nodes as they come instead of by the tree."""

    def push(self, lo: int, value: Any, size: int = 1) -> None:
        self.nodes.append((lo, size, value))

    def finish(self) -> Any:
        value = self.nodes[0][2]
        for _, _, right in self.nodes[1:]:
            value = self.merge(value, right)
        return value


def _chain() -> None:
    """Mutant: ranks sum their lanes canonically, holders add what arrives one after another."""
    from shardwright_trainer.blocks import reduce

    _sound()
    setattr(reduce, "LaneStack", lambda merge: _Chain(merge) if merge is reduce.merge else LaneStack(merge))  # noqa: B010


def _sequential() -> None:
    """Mutant: lanes are added one after another, on each rank and at the holders, instead of in the tree."""
    from shardwright_trainer.plan import lanes
    from shardwright_trainer.rank import engine_reduce

    _sound()
    setattr(lanes, "_are_siblings", lambda left, right: right[0] == left[0] + left[1])  # noqa: B010
    setattr(engine_reduce, "cover", lambda lo, hi: [(lo, hi - lo)] if hi > lo else [])  # noqa: B010


def _release_chain() -> None:
    """Mutant: holders add released lanes one after another."""
    from shardwright_trainer.blocks import release

    _sound()
    setattr(release, "LaneStack", _Chain)  # noqa: B010


def _release_with(change: Callable[[list[Any], Any, int], tuple[list[Any], Any]]) -> None:
    from shardwright_trainer.blocks import release
    from shardwright_trainer.rank import engine_reduce

    class Changed(release.ReleaseSum):
        def release(self, lanes: Any, gradient_e: Any, *, is_last: bool) -> None:
            lanes, gradient_e = change(list(lanes), gradient_e, self._wire.rank)
            super().release(lanes, gradient_e, is_last=is_last)

    _sound()
    setattr(engine_reduce, "ReleaseSum", Changed)  # noqa: B010


class _Swapped(LaneStack[Any]):
    """Takes lanes 4n + 1 and 4n + 2 for one another."""

    kept: list[tuple[int, Any]]

    def push(self, lo: int, value: Any, size: int = 1) -> None:
        self.kept = getattr(self, "kept", [])
        if lo % 4 == 1:
            self.kept.append((lo, value))
            return
        if lo % 4 == 2:
            first, earlier = self.kept.pop()
            LaneStack.push(self, first, value)
            value = earlier
        LaneStack.push(self, lo, value)

    def finish(self) -> Any:
        for lo, value in self.kept:
            LaneStack.push(self, lo, value)
        return LaneStack.finish(self)


def _release_misplaced() -> None:
    """Mutant: two released lanes are taken for one another."""
    from shardwright_trainer.blocks import release

    _sound()
    setattr(release, "LaneStack", _Swapped)  # noqa: B010


def _release_dropped() -> None:
    """Mutant: lane 3 is released empty."""

    def change(lanes: list[Any], gradient_e: Any, rank: int) -> tuple[list[Any], Any]:
        return lanes, gradient_e.zero_() if lanes[rank] == 3 and gradient_e is not None else gradient_e

    _release_with(change)


def _siblings(left: Any, right: Any) -> bool:
    return bool(left[1] == right[1] and left[0] % (2 * left[1]) == 0 and right[0] == left[0] + left[1])


MUTANTS: dict[str | None, Callable[[], None]] = {
    None: _sound,
    "rank-local-sums": _sequential,
    "chain-at-the-holder": _chain,
    "released-into-a-chain": _release_chain,
    "released-into-each-others-places": _release_misplaced,
    "a-lane-released-empty": _release_dropped,
}
