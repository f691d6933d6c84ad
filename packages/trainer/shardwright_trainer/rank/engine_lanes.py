"""The gradient work of a rank: its lanes, one micro-batch after another, into accumulators laid out like
the flat space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor

from shardwright_trainer.blocks.reduce import WIRE_DTYPES, LaneSum
from shardwright_trainer.nn.losses import Row, micro_batch
from shardwright_trainer.nn.model import TrainedModel
from shardwright_trainer.plan.config import LaneOutcome, RankConfig, StepOutcome
from shardwright_trainer.plan.schedule import rows_of
from shardwright_trainer.rank.engine_history import StepFacts


class Rows(Protocol):
    """The prepared data as a step reads it."""

    @property
    def rows(self) -> int: ...
    def row(self, index: int) -> Any: ...
    def row_trained_tokens(self, index: int) -> int: ...


@dataclass(frozen=True, slots=True)
class StepRows:
    """Which rows a step consumes: lanes[lane][micro-batch] → row numbers; lanes without rows are cut off at
    the end."""

    lanes: tuple[tuple[tuple[int, ...], ...], ...]
    trained_tokens: int
    """Of the whole step, the denominator of its loss."""

    @staticmethod
    def of(config: RankConfig, data: Rows, step: int) -> StepRows:
        train, recipe = config.spec["train"], config.recipe
        lanes: list[tuple[tuple[int, ...], ...]] = []
        for lane in range(recipe.lanes):
            batches = tuple(
                tuple(
                    rows_of(
                        recipe,
                        int(train["seed"]),
                        data.rows,
                        step,
                        int(train["batchSize"]),
                        config.steps_per_epoch,
                        lane,
                        index,
                    )
                )
                for index in range(recipe.micro_batches_per_lane)
            )
            if not batches[0]:
                break
            lanes.append(tuple(batch for batch in batches if batch))
        trained = sum(data.row_trained_tokens(row) for lane in lanes for batch in lane for row in batch)
        return StepRows(tuple(lanes), trained)


class Accumulators:
    """Flat fp32 gradient buffers; the one in use is where autograd adds the gradients of all parameters."""

    def __init__(self, trained: TrainedModel) -> None:
        self._trained = trained
        self._all: list[Tensor] = []
        self._free: list[Tensor] = []
        self._views: dict[int, list[Tensor]] = {}
        # In 16 bit autograd needs gradients of its own dtype; they are added into fp32 after each
        # micro-batch.
        self._narrow = None if trained.flat.dtype == torch.float32 else torch.zeros_like(trained.flat)
        self._narrow_is_lent = False
        self._rounded: Tensor | None = None
        if self._narrow is not None:
            self.attach(self._narrow)

    @property
    def are_attached(self) -> bool:
        """Autograd adds into the buffers directly."""
        return self._narrow is None

    @property
    def count(self) -> int:
        """Buffers that were ever in use at once."""
        return len(self._all)

    def take(self) -> Tensor:
        """A zeroed buffer, attached to the parameters where dtypes allow it."""
        if not self._free:
            self._free.append(torch.empty_like(self._trained.flat, dtype=torch.float32))
            self._all.append(self._free[-1])
        buffer = self._free.pop()
        buffer.zero_()
        if self._narrow is None:
            self.attach(buffer)
        return buffer

    def give(self, buffer: Tensor) -> None:
        """The content of this tensor is not needed any more; what is not one of the buffers is ignored."""
        if any(buffer is one for one in self._all) and all(buffer is not free for free in self._free):
            self._free.append(buffer)

    def reclaim(self) -> None:
        """No content is needed any more, also of buffers that an interrupted step left behind."""
        self._free = list(self._all)
        self.rounded_done()

    def rounded(self, buffer: Tensor, dtype: torch.dtype) -> Tensor:
        """The buffer in `dtype`: itself, or a copy that holds until the next call or `reclaim`.

        The copy goes where autograd leaves its 16-bit gradients: between two micro-batches nothing is there.
        """
        if buffer.dtype == dtype:
            return buffer
        if self._narrow is not None and self._narrow.dtype == dtype:
            self._narrow_is_lent = True
            return self._narrow.copy_(buffer)
        if self._rounded is None:
            self._rounded = torch.empty_like(buffer, dtype=dtype)
        return self._rounded.copy_(buffer)

    def rounded_done(self) -> None:
        """What `rounded` returned is not read any more."""
        if self._narrow is not None and self._narrow_is_lent:
            self._narrow.zero_()
            self._narrow_is_lent = False

    def settle(self, buffer: Tensor) -> None:
        """After a micro-batch: its gradients are in `buffer`."""
        if self._narrow is not None:
            buffer.add_(self._narrow)
            self._narrow.zero_()

    def attach(self, buffer: Tensor) -> None:
        """The buffer is where autograd adds gradients from now on."""
        views = self._views.get(buffer.data_ptr())
        if views is None:
            views = [
                buffer[tensor.begin : tensor.end].view(tensor.shape)
                for tensor in self._trained.layout.tensors
            ]
            self._views[buffer.data_ptr()] = views
        for parameter, view in zip(self._trained.parameters, views, strict=True):
            parameter.grad = view


class LaneWork:
    """Computes lanes of one rank. A lane's result depends on (job, step, lane) alone."""

    def __init__(self, config: RankConfig, trained: TrainedModel, data: Rows) -> None:
        self._config = config
        self._trained = trained
        self._data = data
        self.wire_dtype = WIRE_DTYPES[config.recipe.wire_dtype]
        self.accumulators = Accumulators(trained)
        self.data_seconds = 0.0

    def sums(self, step: int, rows: StepRows, lanes: Sequence[int]) -> tuple[LaneSum, list[float]]:
        """Neighbouring lanes: their partial sums in the tree and, in lane order, their loss sums (fp64)."""
        sums = LaneSum(self.wire_dtype)
        losses: list[float] = []
        for lane in lanes:
            buffer = self._sibling(sums, rows, lane)
            if buffer is not None:
                losses.append(self.add(step, rows, lane, buffer))
                sums.push(lane - 1, buffer, lanes=2)
            else:
                buffer = self.accumulators.take()
                losses.append(self.add(step, rows, lane, buffer))
                sums.push(lane, buffer)
            while sums.freed:
                self.accumulators.give(sums.freed.pop())
        return sums, losses

    def _sibling(self, sums: LaneSum, rows: StepRows, lane: int) -> Tensor | None:
        """The sum a lane may be added into by autograd itself, attached; None when it needs a buffer of its
        own.

        With one micro-batch autograd adds the finished gradient of each parameter once: the very addition
        that the tree does, without writing the leaf first.
        """
        if len(rows.lanes[lane]) != 1 or not self.accumulators.are_attached:
            return None
        buffer = sums.take_sibling(lane)
        if buffer is not None:
            self.accumulators.attach(buffer)
        return buffer

    def add(self, step: int, rows: StepRows, lane: int, buffer: Tensor) -> float:
        """Adds the gradient of a lane into an accumulator taken or attached last; returns its loss sum
        (fp64)."""
        recipe, total = self._config.recipe, 0.0
        for index, batch_rows in enumerate(rows.lanes[lane]):
            started = perf_counter()
            batch = micro_batch(
                [self._row(row) for row in batch_rows],
                recipe.row_tokens,
                self._trained.flat.device,
                only_needed=recipe.computed_tokens == "needed",
            )
            self.data_seconds += perf_counter() - started
            self._trained.dropout.at(step, lane, index)
            loss = self._trained.loss_sum(batch, recipe.cross_entropy_rows)
            torch.autograd.backward(loss)
            self.accumulators.settle(buffer)
            total += float(loss.detach())
        return total

    def outcome(self, rows: StepRows, lane: int, loss_sum: float) -> LaneOutcome:
        """What a lane consumed; needs no computation, so any rank can say it of any lane."""
        batches = rows.lanes[lane] if lane < len(rows.lanes) else ()
        read = [self._row(row) for batch in batches for row in batch]
        row_tokens = self._config.recipe.row_tokens
        return LaneOutcome(
            lane=lane,
            loss_sum=loss_sum,
            example_ids=tuple(int(example) for row in read for example in row.example_ids),
            trained_tokens=sum(self._data.row_trained_tokens(row) for batch in batches for row in batch),
            processed_tokens=sum(row_tokens or len(row.tokens) for row in read),
        )

    def told_again(self, step: int, facts: StepFacts | None) -> StepOutcome:
        """The outcome of a finished step with the lanes of all ranks; without facts its numbers are NaN."""
        rows = StepRows.of(self._config, self._data, step)
        losses = facts.lane_losses if facts is not None else (math.nan,) * self._config.recipe.lanes
        return StepOutcome(
            step=step + 1,
            lanes=tuple(self.outcome(rows, lane, loss) for lane, loss in enumerate(losses)),
            loss=facts.loss if facts is not None else math.nan,
            grad_norm=facts.grad_norm if facts is not None else math.nan,
            learning_rate=facts.learning_rate if facts is not None else math.nan,
            seconds=0.0,
            sections={},
            sent_bytes=0,
        )

    def _row(self, row: int) -> Row:
        found: Row = self._data.row(row)
        return found
