"""From the lanes of a rank to the reduced gradient of the blocks it holds, in one of three ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from shardwright_trainer.blocks.holding import Held
from shardwright_trainer.blocks.reduce import WIRE_DTYPES, Arrivals, LaneSum, reduce_to_holders
from shardwright_trainer.blocks.release import Partials, ReleaseSum
from shardwright_trainer.plan.config import RankConfig
from shardwright_trainer.plan.lanes import cover, lanes_by_rank
from shardwright_trainer.rank.engine_adopt import Membership
from shardwright_trainer.rank.engine_lanes import LaneWork, StepRows
from shardwright_trainer.rank.engine_sections import Sections

Way = Literal["merged", "released", "fast"]
"""merged: a rank sums its neighbouring lanes in the tree and sends what is left, once (stages 0 and 1).
released: every lane is sent when it is finished (stage 2). Both end in the same tree, hence the same bits.
fast: one sum per rank, in the order of its lanes, and a tree over the ranks: bits depend on the world."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Which lanes of a step each rank computes, and how their gradients come together."""

    way: Way
    by_rank: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(config: RankConfig, membership: Membership, rows: StepRows) -> Shares:
        plan, limit = membership.plan, len(rows.lanes)
        if config.spec.get("exactness") == "fast":
            return Shares("fast", lanes_by_rank(plan, limit))
        # A single rank has nobody to release to.
        if config.zero_stage == 2 and plan.world_size > 1:
            return Shares("released", lanes_by_rank(plan, limit, dealt=True))
        return Shares("merged", lanes_by_rank(plan, limit))


class Reduction:
    """The buffers of the reduction, kept from step to step, and the work in between."""

    def __init__(self, config: RankConfig, work: LaneWork, device: torch.device) -> None:
        wire_dtype = WIRE_DTYPES[config.recipe.wire_dtype]
        self._work = work
        self.arrivals = Arrivals(wire_dtype, device)
        self.partials = Partials(wire_dtype, device)

    def run(
        self, step: int, rows: StepRows, shares: Shares, membership: Membership, sections: Sections
    ) -> tuple[Tensor, list[float]]:
        """(sum [p] of the held blocks in fp32, loss sums of this rank's lanes in lane order).

        PeerLost when a peer goes; nothing of the state has changed then. The sum holds until `reclaim`.
        """
        self._work.data_seconds = 0.0
        sections.enter("forward_backward", "lanes")
        match shares.way:
            case "merged":
                found = self._merged(step, rows, shares, membership, sections)
            case "released":
                found = self._released(step, rows, shares, membership, sections)
            case "fast":
                found = self._fast(step, rows, shares, membership, sections)
        sections.shift("forward_backward", "data", self._work.data_seconds)
        return found

    def reclaim(self) -> None:
        """Nothing of the last step's gradients is needed any more."""
        self._work.accumulators.reclaim()

    def _merged(
        self, step: int, rows: StepRows, shares: Shares, membership: Membership, sections: Sections
    ) -> tuple[Tensor, list[float]]:
        sums, losses = self._work.sums(step, rows, shares.by_rank[membership.plan.rank])
        sections.enter("reduce", "reduce")
        covers = [cover(lanes[0], lanes[-1] + 1) if lanes else [] for lanes in shares.by_rank]
        return self._finish(membership, covers, sums), losses

    def _released(
        self, step: int, rows: StepRows, shares: Shares, membership: Membership, sections: Sections
    ) -> tuple[Tensor, list[float]]:
        mine = shares.by_rank[membership.plan.rank]
        rounds = max(len(lanes) for lanes in shares.by_rank)
        total = ReleaseSum(membership.gang, membership.held, self.partials)
        losses: list[float] = []
        for turn in range(rounds):
            sections.enter("forward_backward", "lanes")
            gradient_e = None
            if turn < len(mine):
                buffer = self._work.accumulators.take()
                losses.append(self._work.add(step, rows, mine[turn], buffer))
                gradient_e = self._work.accumulators.rounded(buffer, self._work.wire_dtype)
            sections.enter("reduce", "reduce")
            lanes = [hand[turn] if turn < len(hand) else None for hand in shares.by_rank]
            is_last = turn == rounds - 1
            total.release(lanes, gradient_e, is_last=is_last)
            if gradient_e is not None and not is_last:
                self._work.accumulators.rounded_done()
                self._work.accumulators.give(buffer)
        return total.finish(), losses

    def _fast(
        self, step: int, rows: StepRows, shares: Shares, membership: Membership, sections: Sections
    ) -> tuple[Tensor, list[float]]:
        mine = shares.by_rank[membership.plan.rank]
        losses: list[float] = []
        sums = LaneSum(self._work.wire_dtype)
        # Leaves of the tree are the ranks that have lanes.
        workers = [rank for rank, lanes in enumerate(shares.by_rank) if lanes]
        if mine:
            buffer = self._work.accumulators.take()
            losses = [self._work.add(step, rows, lane, buffer) for lane in mine]
            sums.push(workers.index(membership.plan.rank), buffer)
        sections.enter("reduce", "reduce")
        covers = [[(workers.index(rank), 1)] if lanes else [] for rank, lanes in enumerate(shares.by_rank)]
        return self._finish(membership, covers, sums), losses

    def _finish(
        self, membership: Membership, covers: Sequence[Sequence[tuple[int, int]]], sums: LaneSum
    ) -> Tensor:
        return reduce_to_holders(membership.gang, membership.held, covers, sums.nodes(), self.arrivals)


def payload_sizes(held: Sequence[Held], shares: Shares) -> list[int]:
    """Numbers each rank tells the others of a reduced step: a square sum per owned block, a loss per lane."""
    return [len(one.owned) + len(lanes) for one, lanes in zip(held, shares.by_rank, strict=True)]
