"""What a step consists of: its rows, its learning rate. Pure functions of the job, never of ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from shardwright_trainer.plan.config import Recipe
from shardwright_trainer.plan.order import permute


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Optimizer steps of one pass over `rows` rows; the last one may be short."""
    return -(-rows // batch_size)


def total_steps(train: Mapping[str, Any], rows: int) -> int:
    """Optimizer steps of the whole job: maxSteps when it is set, else epochs × steps of one epoch.

    train: the `train` object of a JobSpec.
    """
    if train["maxSteps"] is not None:
        return int(train["maxSteps"])
    return int(train["epochs"]) * steps_per_epoch(rows, int(train["batchSize"]))


def rows_of(  # noqa: PLR0917 - eight plain numbers say it better than an object made for one call
    recipe: Recipe,
    seed: int,
    rows: int,
    step: int,
    batch_size: int,
    steps_per_epoch: int,
    lane: int,
    micro_batch: int,
) -> list[int]:
    """Rows of one micro-batch of one lane, in order; empty where a short step or batch ends before it.

    step: 0-based index of the step to run. micro_batch: its index in the lane.
    Raises ValueError for a batch that does not fit the lanes of the recipe.
    """
    rows_per_lane = recipe.micro_batches_per_lane * recipe.micro_batch_rows
    if batch_size > recipe.lanes * rows_per_lane:
        raise ValueError(
            f"a batch of {batch_size} rows does not fit {recipe.lanes} lanes of {rows_per_lane} rows; "
            "the plan and the spec disagree"
        )
    epoch, step_of_epoch = divmod(step, steps_per_epoch)
    first = step_of_epoch * batch_size
    width = min(batch_size, rows - first)
    begin = lane * rows_per_lane + micro_batch * recipe.micro_batch_rows
    end = min(begin + recipe.micro_batch_rows, width)
    return [permute(seed, epoch, rows, first + position) for position in range(begin, end)]


def warmup_steps(train: Mapping[str, Any], total: int) -> int:
    """Steps of the rising part of the schedule."""
    if train["warmupSteps"] is not None:
        return int(train["warmupSteps"])
    return math.ceil(float(train["warmupRatio"]) * total)


def learning_rate(train: Mapping[str, Any], k: int, total: int) -> float:
    """Rate of the update that follows `k` applied ones, in a job of `total` steps.

    With warm-up the first update has rate 0, as in Hugging Face's schedules. linear and cosine fall from
    the peak to finalRateRatio × peak.
    """
    peak, schedule = float(train["learningRate"]), train["schedule"]
    if schedule == "constant":
        return peak
    warmup = warmup_steps(train, total)
    if k < warmup:
        return peak * k / warmup
    if schedule == "constant_with_warmup":
        return peak
    left = (total - k) / max(1, total - warmup)
    if schedule == "cosine":
        left = 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
    elif schedule != "linear":
        raise ValueError(
            f"train.schedule is {schedule!r}; expected constant, constant_with_warmup, linear or cosine"
        )
    final = float(train["finalRateRatio"])
    return peak * (final + (1.0 - final) * left)
