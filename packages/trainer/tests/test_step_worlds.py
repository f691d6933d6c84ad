"""The promise itself: parameters and optimizer state are the same bits for every world size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gang import RankFailure, RankPool, hashes, run_job, spread_map
from models import FAMILIES, a_config, data_of, save_model

from shardwright_trainer.plan.config import BlockMap, BlockRun, FreshSource

ROWS = 41
STEPS = 4
"""Step 3 opens the second pass over the data, after a short step."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    return {family: save_model(root / family, family) for family in FAMILIES}


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_world_size_gives_the_same_bits(
    pool: RankPool, folders: dict[str, str], family: str, method: str
) -> None:
    config = a_config(folders[family], method=method, family=family)
    runs = {world: run_job(pool, config, ROWS, world, STEPS) for world in (1, 2, 3, 4, 5)}
    assert len({run[0] for run in runs.values()}) == 1
    reported = {world: _by_lane(outcomes) for world, (_, outcomes) in runs.items()}
    assert all(lanes == reported[1] for lanes in reported.values())
    assert len({tuple(outcome.loss for outcome in outcomes[-1]) for _, outcomes in runs.values()}) == 1
    # The first step is full (14 rows, 7 lanes), the third of an epoch has the 13 that are left.
    assert sum(len(lane.example_ids) > 0 for lane in runs[1][1][0][0].lanes) == 7


@pytest.mark.parametrize("family", FAMILIES)
def test_every_world_size_gives_the_same_bits_of_the_needed_tokens(
    pool: RankPool, folders: dict[str, str], family: str
) -> None:
    needed, whole = (
        a_config(
            folders[family],
            family=family,
            recipe={
                "computed_tokens": computed,
                "lanes": 7,
                "micro_batches_per_lane": 1,
                "micro_batch_rows": 2,
            },
        )
        for computed in ("needed", "all")
    )
    runs = [run_job(pool, needed, ROWS, world, STEPS) for world in (1, 2, 3, 4, 5)]
    assert len({run[0] for run in runs}) == 1
    # What is reported are the tokens of the data, whatever is computed of them.
    data = data_of(needed, ROWS)
    tokens = sum(lane.processed_tokens for outcome in runs[0][1][0][:3] for lane in outcome.lanes)
    assert tokens == sum(len(data.row(row).tokens) for row in range(ROWS))
    assert run_job(pool, whole, ROWS, 1, STEPS)[0] != runs[0][0]


@pytest.mark.parametrize("mutant", ["rank-local-sums", "chain-at-the-holder"])
def test_another_order_of_sums_is_noticed(pool: RankPool, folders: dict[str, str], mutant: str) -> None:
    config = a_config(folders["llama"])
    found = {run_job(pool, config, ROWS, world, STEPS, mutant=mutant)[0] for world in (1, 2, 3, 4)}
    assert len(found) > 1


@pytest.mark.parametrize("changes", [
    pytest.param({"wire_dtype": "bf16"}, id="bf16-wire"),
    pytest.param({"compute_dtype": "bf16", "wire_dtype": "bf16"}, id="bf16-compute-and-wire"),
    pytest.param({"compute_dtype": "bf16"}, id="bf16-compute"),
    pytest.param({"row_tokens": 40}, id="padded-rows"),
    pytest.param({"row_tokens": 64, "computed_tokens": "needed"}, id="padded-rows-of-which-the-needed"),
    pytest.param({"lanes": 7, "micro_batches_per_lane": 1, "micro_batch_rows": 2}, id="seven-lanes"),
])  # fmt: skip
def test_other_recipes_are_exact_too(
    pool: RankPool, folders: dict[str, str], changes: dict[str, Any]
) -> None:
    config = a_config(folders["llama"], method="full", recipe=changes)
    assert len({run_job(pool, config, ROWS, world, STEPS)[0] for world in (1, 3, 4)}) == 1


@pytest.mark.parametrize("copies", [2, 4])
def test_copies_compute_the_same(pool: RankPool, folders: dict[str, str], copies: int) -> None:
    config = a_config(folders["qwen2"])
    assert run_job(pool, config, ROWS, 4, STEPS, copies=copies)[0] == run_job(pool, config, ROWS, 1, STEPS)[0]


def test_dropout_depends_on_the_lane_and_not_on_the_rank(pool: RankPool, tmp_path: Path) -> None:
    folder = save_model(tmp_path, "gpt2", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    dropped = a_config(folder, tuning={"dropout": 0.2})
    found = [run_job(pool, dropped, ROWS, world, STEPS)[0] for world in (1, 3)]
    assert found[0] == found[1]
    assert run_job(pool, a_config(folder), ROWS, 1, STEPS)[0] != found[0]


def test_gradient_checkpointing_changes_no_bits(pool: RankPool, tmp_path: Path) -> None:
    folder = save_model(tmp_path, "gpt2", resid_pdrop=0.1, attn_pdrop=0.1)
    plain, checkpointed = (
        a_config(folder, recipe={"gradient_checkpointing": level}) for level in ("none", "full")
    )
    pool.grow(1)
    digests = [pool.ranks[0].ask("load", config, ROWS)["recipe"] for config in (plain, checkpointed)]
    assert digests[0] == digests[1]
    assert run_job(pool, plain, ROWS, 2, STEPS)[0] == run_job(pool, checkpointed, ROWS, 2, STEPS)[0]


def test_owned_bytes_are_those_of_the_map(pool: RankPool, folders: dict[str, str]) -> None:
    config = a_config(folders["llama"], recipe={"compute_dtype": "bf16"})
    pool.grow(3)
    pool.load(config, ROWS, [0, 1, 2])
    elements = pool.ranks[0].ask("elements")
    block_map = spread_map(elements, config.block_elements, 3, copies=2)
    evidence = pool.form([0, 1, 2], block_map, FreshSource(), config.recipe.lanes)
    assert sum(one.owned_blocks for one in evidence) == block_map.blocks
    assert sum(one.replica_blocks for one in evidence) == block_map.blocks
    # 12 bytes an element and copy; the short last block is stored without its padding.
    assert sum(one.optimizer_bytes for one in evidence) == 12 * 2 * elements


def test_a_corrupted_block_map_is_refused(pool: RankPool, folders: dict[str, str]) -> None:
    config = a_config(folders["llama"])
    pool.grow(1)
    pool.load(config, ROWS, [0])
    elements = pool.ranks[0].ask("elements")
    good = spread_map(elements, config.block_elements, 1)
    gap = good.runs[:3] + good.runs[4:]
    twice = (*good.runs[:3], BlockRun(first_block=2, blocks=2, holders=(0,)), *good.runs[4:])
    stranger = (BlockRun(first_block=0, blocks=good.blocks, holders=(1,)),)
    for runs, said in ((gap, "have no holder"), (twice, "overlaps"), (stranger, "outside the world")):
        bad = BlockMap(elements=elements, block_elements=config.block_elements, blocks=good.blocks, runs=runs)
        _refused(pool, bad, said)
    _refused(pool, spread_map(elements + 1, config.block_elements, 1), f"the model has {elements}")
    pool.form([0], good, FreshSource(), config.recipe.lanes)
    pool.ranks[0].ask("steps", 0, 1)
    assert hashes(pool, [0])


def test_a_step_out_of_turn_is_refused(pool: RankPool, folders: dict[str, str]) -> None:
    run_job(pool, a_config(folders["llama"]), ROWS, 1, 1)
    with pytest.raises(RankFailure, match=r"StateError.*version 1"):
        pool.ranks[0].ask("steps", 3, 4)


def test_a_loss_that_is_not_finite_stops_every_rank(pool: RankPool, folders: dict[str, str]) -> None:
    config = a_config(folders["llama"], method="full", train={"learningRate": 1e20, "maxGradNorm": 0.0})
    pool.grow(2)
    pool.load(config, ROWS, [0, 1])
    elements = pool.ranks[0].ask("elements")
    pool.form([0, 1], spread_map(elements, config.block_elements, 2), FreshSource(), config.recipe.lanes)
    answers = pool.attempt([0, 1], "steps", 0, 4)
    assert [answer.args[0] for answer in answers] == ["NonFiniteLoss", "NonFiniteLoss"]
    assert answers[0].args[1] == answers[1].args[1]
    assert "its examples are" in answers[0].args[1]


def _refused(pool: RankPool, block_map: BlockMap, said: str) -> None:
    with pytest.raises(RankFailure) as caught:
        pool.form([0], block_map, FreshSource(), 8)
    assert caught.value.args[2] == "BlockMapRefused"
    assert said in caught.value.args[1]


def _by_lane(outcomes: list[Any]) -> list[Any]:
    """What all ranks report of each step, lanes put together."""
    steps = zip(*outcomes, strict=True)
    return [
        sorted((lane for outcome in step for lane in outcome.lanes), key=lambda lane: lane.lane)
        for step in steps
    ]
