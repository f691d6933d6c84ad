"""Stages 0, 1 and 2 are one arithmetic: the same bits for every world, method and death; `fast` is not."""

from __future__ import annotations

from typing import Any

import pytest
from gang import RankFailure, RankPool, hashes, moves_between, run_job, spread_map, target_version
from models import a_config

from shardwright_trainer.plan.config import FreshSource, LiveSource, RankConfig
from shardwright_trainer.plan.memory import arrival_bytes, live_max, release_partials_max

ROWS = 41
STEPS = 4
WORLDS = (1, 2, 3, 4, 5)


def staged(folder: str, stage: int, method: str, **changes: Any) -> RankConfig:
    return a_config(folder, method=method, zero_stage=stage, **changes)


@pytest.mark.parametrize("recipe", [
    pytest.param({}, id="fp32"),
    pytest.param({"compute_dtype": "bf16", "wire_dtype": "bf16"}, id="bf16"),
    pytest.param({"wire_dtype": "bf16", "micro_batches_per_lane": 1, "micro_batch_rows": 2}, id="bf16-wire"),
])  # fmt: skip
@pytest.mark.parametrize("method", ["lora", "full"])
def test_stages_and_worlds_give_the_same_bits(
    pool: RankPool, folder: str, method: str, recipe: dict[str, Any]
) -> None:
    expected = run_job(pool, staged(folder, 1, method, recipe=recipe), ROWS, 1, STEPS)[0]
    for stage, copies in ((2, 1), (2, 2), (0, 9)):
        for world in WORLDS:
            config = staged(folder, stage, method, recipe=recipe)
            found = run_job(pool, config, ROWS, world, STEPS, copies=min(copies, world))[0]
            assert found == expected, (stage, copies, world)


@pytest.mark.parametrize(
    "mutant", ["released-into-a-chain", "released-into-each-others-places", "a-lane-released-empty"]
)
def test_another_way_of_releasing_is_noticed(pool: RankPool, folder: str, mutant: str) -> None:
    expected = run_job(pool, staged(folder, 1, "lora"), ROWS, 1, STEPS)[0]
    found = [
        run_job(pool, staged(folder, 2, "lora"), ROWS, world, STEPS, mutant=mutant)[0] for world in (3, 4)
    ]
    assert expected not in found


@pytest.mark.parametrize(("phase", "after"), [
    ("lanes", 0), ("reduce", 0), ("lanes", 1), ("reduce", 1), ("commit", 0), ("update", 0), ("gather", 0),
])  # fmt: skip
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_death_between_releases_loses_nothing(
    pool: RankPool, folder: str, method: str, phase: str, after: int
) -> None:
    """4 ranks release 8 lanes in two rounds; rank 1 dies before, between and after them, three go on."""
    config = staged(folder, 2, method)
    expected = run_job(pool, staged(folder, 1, method), ROWS, 1, 5)[0]
    members, survivors = [0, 1, 2, 3], [0, 2, 3]
    pool.grow(4)
    pool.load(config, ROWS, members)
    old = spread_map(pool.ranks[0].ask("elements"), config.block_elements, 4, 2)
    pool.form(members, old, FreshSource(), config.recipe.lanes)
    pool.each(members, "steps", 0, 2)
    before = pool.each(survivors, "buffers")
    pool.ranks[1].ask("arm", 2, phase, after)
    answers = pool.attempt(members, "steps", 2, 5)
    pool.bury(1)
    assert [answers[member].args[0] for member in survivors] == ["PeerLost"] * 3, answers
    target = target_version(pool.each(survivors, "holding"))
    assert target == (2 if phase in ("lanes", "reduce") else 3)
    new = spread_map(old.elements, old.block_elements, 3, 2)
    moves = moves_between(old, new, {0: 0, 2: 1, 3: 2})
    pool.form(survivors, new, LiveSource(target_version=target, moves=moves), config.recipe.lanes)
    pool.each(survivors, "steps", target, 5)
    assert hashes(pool, survivors) == expected
    # What the interrupted step had taken is used again: nothing is left behind.
    assert [one["accumulators"] for one in before] == [1, 1, 1]
    assert [one["accumulators"] for one in pool.each(survivors, "buffers")] == [1, 1, 1]


@pytest.mark.parametrize("world", [2, 3, 4, 5])
def test_gradient_bytes_are_those_of_the_closed_forms(pool: RankPool, folder: str, world: int) -> None:
    found: dict[int, list[dict[str, int]]] = {}
    for stage in (0, 1, 2):
        config = staged(folder, stage, "full", train={"batchSize": 16})
        copies = world if stage == 0 else 1
        run_job(pool, config, ROWS, world, 1, copies=copies)
        elements = pool.ranks[0].ask("elements")
        blocks = -(-elements // config.block_elements)
        held = elements if stage == 0 else -(-blocks // world) * config.block_elements
        found[stage] = pool.each(range(world), "buffers")
        most = {name: max(one[name] for one in found[stage]) for name in found[stage][0]}
        if stage == 2:
            assert most["accumulators"] == 1
            assert (
                0
                <= release_partials_max(8, world) * held * 4 - most["partials"]
                < 4 * 8 * config.block_elements
            )
        else:
            assert most["accumulators"] == live_max(8, world)
            assert 0 <= arrival_bytes(held, world, 8, 4) - most["arrivals"] < 4 * 8 * config.block_elements
    whole = 4 * elements
    peaks = [
        max(one["accumulators"] * whole + one["partials"] + one["arrivals"] for one in found[stage])
        for stage in (0, 1, 2)
    ]
    assert peaks[2] <= peaks[1] <= peaks[0]


def test_stage_0_wants_every_block_on_every_rank(pool: RankPool, folder: str) -> None:
    config = staged(folder, 0, "lora")
    pool.grow(3)
    pool.load(config, ROWS, [0, 1, 2])
    block_map = spread_map(pool.ranks[0].ask("elements"), config.block_elements, 3, copies=2)
    answers = []
    for member, plan in enumerate(pool.plans([0, 1, 2], block_map, FreshSource(), config.recipe.lanes)):
        with pytest.raises(RankFailure) as caught:
            pool.ranks[member].ask("connect", plan)
        answers.append(caught.value.args)
    assert {(one[0], one[2]) for one in answers} == {("StateError", "BlockMapRefused")}
    assert "every rank holds every block; block 0 has fewer" in answers[0][1]


def test_stages_are_not_mixed(pool: RankPool, folder: str) -> None:
    """They exchange other messages: a rank of another stage would make all wait for each other."""
    pool.grow(2)
    configs = [staged(folder, stage, "lora") for stage in (1, 2)]
    for member, config in enumerate(configs):
        pool.load(config, ROWS, [member])
    block_map = spread_map(pool.ranks[0].ask("elements"), configs[0].block_elements, 2)
    plans = pool.plans([0, 1], block_map, FreshSource(), configs[0].recipe.lanes)
    for member, plan in enumerate(plans):
        pool.ranks[member].send("form", plan)
    for member in range(2):
        with pytest.raises(RankFailure, match="RecipeMismatch"):
            pool.ranks[member].answer()


class TestFast:
    def fast(self, folder: str, method: str, stage: int = 1, **changes: Any) -> RankConfig:
        config = staged(folder, stage, method, **changes)
        config.spec["exactness"] = "fast"
        return config

    @pytest.mark.parametrize("recipe", [{}, {"compute_dtype": "bf16", "wire_dtype": "bf16"}])
    @pytest.mark.parametrize("method", ["lora", "full"])
    def test_it_is_close_and_repeats_in_its_world(
        self, pool: RankPool, folder: str, method: str, recipe: dict[str, Any]
    ) -> None:
        config = self.fast(folder, method, recipe=recipe)
        exact = run_job(pool, staged(folder, 1, method, recipe=recipe), ROWS, 1, STEPS)
        found = {}
        for world in (1, 2, 3, 4):
            runs = [run_job(pool, config, ROWS, world, STEPS, copies=copies) for copies in (1, world)]
            assert runs[0][0] == runs[1][0], world
            found[world] = runs[0][0]
            for fast, one in zip(runs[0][1][0], exact[1][0], strict=True):
                assert fast.loss == pytest.approx(one.loss, rel=0.02 if recipe else 1e-4)
        # The order of sums is given up, and that is all: without it the bits depend on the world.
        assert len(set(found.values())) > 1

    def test_one_sum_a_rank_in_one_buffer(self, pool: RankPool, folder: str) -> None:
        fast = self.fast(folder, "full")
        _, outcomes = run_job(pool, fast, ROWS, 3, 1)
        assert [one["accumulators"] for one in pool.each(range(3), "buffers")] == [1, 1, 1]
        _, exact = run_job(pool, staged(folder, 1, "full"), ROWS, 3, 1)
        # 8 lanes on 3 ranks: [0, 3) and [3, 6) are two sums of the tree each, and here one.
        sent = [[one[0].sent_bytes for one in run] for run in (outcomes, exact)]
        assert sent[0][0] < sent[1][0] and sent[0][1] < sent[1][1]

    def test_a_death_loses_no_step(self, pool: RankPool, folder: str) -> None:
        """The commit point holds as ever: survivors go on from the version they agree on, all the same."""
        config = self.fast(folder, "lora")
        members, survivors = [0, 1, 2], [0, 2]
        pool.grow(3)
        pool.load(config, ROWS, members)
        old = spread_map(pool.ranks[0].ask("elements"), config.block_elements, 3, 3)
        pool.form(members, old, FreshSource(), config.recipe.lanes)
        pool.ranks[1].ask("arm", 2, "reduce")
        pool.attempt(members, "steps", 0, STEPS)
        pool.bury(1)
        target = target_version(pool.each(survivors, "holding"))
        assert target == 2
        new = spread_map(old.elements, old.block_elements, 2, 2)
        pool.form(survivors, new, LiveSource(target_version=2, moves=()), config.recipe.lanes)
        pool.each(survivors, "steps", target, STEPS)
        assert hashes(pool, survivors)
