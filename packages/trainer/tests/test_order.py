"""Order and schedule: exact vectors shared with the planner, and the properties that resuming stands on."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright_trainer.plan.config import Recipe
from shardwright_trainer.plan.order import ORDER_ID, permute, philox4x32
from shardwright_trainer.plan.schedule import learning_rate, rows_of, steps_per_epoch, total_steps

VECTORS = Path(__file__).resolve().parents[3] / "test" / "contract" / "vectors"


def test_philox_is_the_standard_one() -> None:
    assert philox4x32((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = (0xFFFFFFFF,) * 4
    assert philox4x32(ones, (0xFFFFFFFF, 0xFFFFFFFF)) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)


@given(st.integers(0, 2**53 - 1), st.integers(0, 2**40), st.integers(1, 200))
def test_permute_is_a_bijection(seed: int, epoch: int, n: int) -> None:
    assert sorted(permute(seed, epoch, n, index) for index in range(n)) == list(range(n))


def test_order_equals_the_planners() -> None:
    vectors = json.loads((VECTORS / "order.json").read_text())
    for case in vectors["philox"]:
        assert list(philox4x32(tuple(case["counter"]), tuple(case["key"]))) == case["output"]
    for case in vectors["permutations"]:
        seed, epoch, n = case["seed"], case["epoch"], case["n"]
        assert [permute(seed, epoch, n, index) for index in range(n)] == case["values"]
    for case in vectors["points"]:
        assert permute(case["seed"], case["epoch"], case["n"], case["index"]) == case["value"]
    assert vectors["id"] == ORDER_ID and vectors["permutations"] and vectors["points"]


def test_rows_equal_the_planners() -> None:
    jobs = json.loads((VECTORS / "schedule.json").read_text())["jobs"]
    assert jobs
    for job in jobs:
        made = recipe(job["lanes"], job["microBatchesPerLane"], job["microBatchRows"])
        seed, n, batch, per_epoch = job["seed"], job["rows"], job["batchSize"], job["stepsPerEpoch"]
        assert steps_per_epoch(n, batch) == per_epoch
        for step, lanes in enumerate(job["steps"]):
            for lane, micro_batches in enumerate(lanes):
                for micro, rows in enumerate(micro_batches):
                    assert rows_of(made, seed, n, step, batch, per_epoch, lane, micro) == rows


def test_permute_refuses_what_is_outside() -> None:
    for arguments in ((0, 0, 5, 5), (0, 0, 5, -1), (-1, 0, 5, 0), (2**53, 0, 5, 0), (0, -1, 5, 0)):
        with pytest.raises(ValueError, match=r"outside|must be"):
            permute(*arguments)


def recipe(lanes: int, per_lane: int, rows: int) -> Recipe:
    return Recipe(
        compute_dtype="fp32",
        wire_dtype="fp32",
        lanes=lanes,
        micro_batches_per_lane=per_lane,
        micro_batch_rows=rows,
        row_tokens=0,
        cross_entropy_rows=256,
        attention="sdpa",
        threads_per_rank=1,
        optimizer_implementation="single",
        gradient_checkpointing="none",
        device_type="cpu",
    )


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
def test_an_epoch_holds_every_row_once(n: int, lanes: int, per_lane: int, width: int, seed: int) -> None:
    batch = max(1, lanes * per_lane * width - 1)
    per_epoch = steps_per_epoch(n, batch)
    for epoch in (0, 3):
        seen: list[int] = []
        for step, lane, micro in product(range(per_epoch), range(lanes), range(per_lane)):
            found = rows_of(
                recipe(lanes, per_lane, width),
                seed,
                n,
                epoch * per_epoch + step,
                batch,
                per_epoch,
                lane,
                micro,
            )
            assert len(found) <= width
            seen += found
        assert sorted(seen) == list(range(n))


def test_a_batch_that_does_not_fit_the_lanes_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 9 rows does not fit 2 lanes of 4 rows"):
        rows_of(recipe(2, 2, 2), 0, 100, 0, 9, 12, 0, 0)


def train(schedule: str, peak: float, **changes: Any) -> dict[str, Any]:
    return {
        "schedule": schedule,
        "learningRate": peak,
        "warmupSteps": None,
        "warmupRatio": 0.0,
        "finalRateRatio": 0.0,
        **changes,
    }


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0, 4.2553191e-6, 9.7872340e-5, 2e-4, 1.03102310e-4, 1.3201320e-7, 0]),
        ("cosine", [0, 4.2553191e-6, 9.7872340e-5, 2e-4, 1.04871169e-4, 2.1500e-10, 0]),
    ],
)
def test_learning_rates_are_those_of_hugging_face(schedule: str, expected: list[float]) -> None:
    spec = train(schedule, 2e-4, warmupRatio=0.03)
    for k, rate in zip((0, 1, 23, 47, 781, 1561, 1562), expected, strict=True):
        assert learning_rate(spec, k, 1562) == pytest.approx(rate, rel=1e-4, abs=1e-18)


def test_learning_rate_without_warm_up_and_with_a_floor() -> None:
    plain = train("linear", 5e-5)
    assert learning_rate(plain, 187, 375) == pytest.approx(2.5066667e-5)
    assert learning_rate(plain, 374, 375) == pytest.approx(1.3333333e-7)
    floor = train("cosine", 1.0, finalRateRatio=0.05)
    assert learning_rate(floor, 100, 100) == pytest.approx(0.05)
    assert learning_rate(train("constant", 3.0, warmupSteps=5), 0, 10) == 3.0
    assert learning_rate(train("constant_with_warmup", 3.0, warmupSteps=6), 3, 10) == 1.5
    with pytest.raises(ValueError, match=r"train\.schedule is 'step'"):
        learning_rate(train("step", 1.0), 0, 10)


def test_total_steps() -> None:
    assert total_steps({"maxSteps": None, "epochs": 3, "batchSize": 64}, 100_000) == 3 * 1563
    assert total_steps({"maxSteps": 7, "epochs": 3, "batchSize": 64}, 100_000) == 7
