"""Snapshots in the memory of agents: every rank dies, the job goes on from them with the same bits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from gang import RankFailure, RankPool, hashes, run_job, spread_map
from models import a_config

from shardwright_trainer.agent.snapshots import SnapshotStore
from shardwright_trainer.plan.block_map import held_blocks
from shardwright_trainer.plan.config import (
    BlockMap,
    FreshSource,
    RankConfig,
    Snapshot,
    SnapshotFile,
    SnapshotSource,
    TransferMove,
)
from shardwright_trainer.plan.flat import block_bounds
from shardwright_trainer.plan.wire import snapshot_to_pb

ROWS, STEPS, TAKEN_AT = 41, 6, 3
WORLD = [0, 1, 2]


@pytest.fixture
def agents() -> Iterator[list[SnapshotStore]]:
    stores = [SnapshotStore() for _ in WORLD]
    yield stores
    for store in stores:
        store.close()


CASES = [
    pytest.param({"method": "lora"}, 3, id="lora"),
    pytest.param({"method": "full"}, 1, id="full-one-copy"),
    pytest.param({"method": "full", "recipe": {"compute_dtype": "bf16", "wire_dtype": "bf16"}}, 1, id="bf16"),
]


@pytest.mark.parametrize(("changes", "copies"), CASES)
def test_all_ranks_and_one_agent_die(
    pool: RankPool, folder: str, agents: list[SnapshotStore], changes: dict[str, Any], copies: int
) -> None:
    """Three ranks, one agent each; the two agents that are left have every block between them."""
    config = a_config(folder, **changes)
    expected = run_job(pool, config, ROWS, 1, STEPS)[0]
    block_map = _start(pool, config, copies)
    pool.each(WORLD, "steps", 0, TAKEN_AT)
    _keep(agents, pool.each(WORLD, "snapshot", TAKEN_AT))
    pool.each(WORLD, "steps", TAKEN_AT, TAKEN_AT + 2)
    _kill(pool, config)
    two = spread_map(block_map.elements, block_map.block_elements, 2)
    source, files = _resting(agents[1:], two)
    assert source.moves, "some blocks are with the other agent only"
    evidence = pool.form([0, 1], two, source, config.recipe.lanes, files=files)
    assert {one.version for one in evidence} == {TAKEN_AT}
    assert sum(one.received_bytes for one in evidence) == sum(move.bytes for move in source.moves)
    pool.each([0, 1], "steps", TAKEN_AT, STEPS)
    assert hashes(pool, [0, 1]) == expected


def test_a_snapshot_changes_no_bits(pool: RankPool, folder: str, agents: list[SnapshotStore]) -> None:
    config = a_config(folder, method="full")
    expected = run_job(pool, config, ROWS, 3, STEPS)[0]
    _start(pool, config, 1)
    for step in range(STEPS):
        pool.each(WORLD, "steps", step, step + 1)
        _keep(agents, pool.each(WORLD, "snapshot", step + 1))
    assert hashes(pool, WORLD) == expected
    # Each agent keeps the newest that is complete everywhere and the one taken last.
    assert {_steps(store) for store in agents} == {(STEPS - 1, STEPS)}


def test_the_complete_snapshot_stays_while_one_rank_has_no_memory(
    pool: RankPool, folder: str, agents: list[SnapshotStore]
) -> None:
    config = a_config(folder, method="full")
    _start(pool, config, 1)
    pool.each(WORLD, "steps", 0, 1)
    _keep(agents, pool.each(WORLD, "snapshot", 1))
    pool.ranks[2].ask("fail_memory")
    for step in (1, 2, 3):
        pool.each(WORLD, "steps", step, step + 1)
        answers = pool.attempt(WORLD, "snapshot", step + 1)
        assert "SnapshotFailed" in answers[2].args, answers
        _keep(agents[:2], answers[:2])
    assert [_steps(store) for store in agents] == [(1, 4), (1, 4), (1,)]
    _kill(pool, config)


def test_what_is_damaged_foreign_or_not_there_is_never_trained_on(
    pool: RankPool, folder: str, agents: list[SnapshotStore]
) -> None:
    config = a_config(folder)
    run_job(pool, config, ROWS, 1, 1)
    elements = pool.ranks[0].ask("elements")
    alone = spread_map(elements, config.block_elements, 1)
    pool.form([0], alone, FreshSource(), config.recipe.lanes, snapshots=alone)
    pool.each([0], "steps", 0, 2)
    _keep(agents[:1], pool.each([0], "snapshot", 2))
    source, (files,) = _resting(agents[:1], alone)

    def refused(code: str, *given: SnapshotFile) -> None:
        with pytest.raises(RankFailure) as failure:
            pool.form([0], alone, source, config.recipe.lanes, files=[given])
        assert failure.value.args[2] == code
        assert pool.ranks[0].ask("holding").generation == 0

    refused("SnapshotMissing")
    (whole,) = files
    for change in ({"recipe_sha256": "0" * 64}, {"step": 1}, {"generation": 1}):
        fields = {name: getattr(whole, name) for name in whole.__slots__} | change
        refused("SnapshotForeign", SnapshotFile(**fields))
    with open(whole.path, "r+b") as memory:
        memory.seek(-77, os.SEEK_END)
        byte = memory.read(1)
        memory.seek(-77, os.SEEK_END)
        memory.write(bytes([byte[0] ^ 1]))
    refused("SnapshotCorrupt", whole)


def _start(pool: RankPool, config: RankConfig, copies: int) -> BlockMap:
    pool.grow(len(WORLD))
    pool.load(config, ROWS, WORLD)
    elements = pool.ranks[0].ask("elements")
    block_map = spread_map(elements, config.block_elements, len(WORLD), copies)
    kept = spread_map(elements, config.block_elements, len(WORLD), 2)
    pool.form(WORLD, block_map, FreshSource(), config.recipe.lanes, snapshots=kept)
    return block_map


def _keep(agents: list[SnapshotStore], snapshots: list[Snapshot]) -> None:
    for store, snapshot in zip(agents, snapshots, strict=True):
        assert store.add(snapshot_to_pb(snapshot))


def _kill(pool: RankPool, config: RankConfig) -> None:
    for member in WORLD:
        os.kill(int(pool.ranks[member].process.pid or 0), signal.SIGKILL)
        pool.bury(member)
    pool.load(config, ROWS, WORLD)


def _steps(store: SnapshotStore) -> tuple[int, ...]:
    return tuple(one.step for one in store.held().snapshots)


def _resting(
    agents: list[SnapshotStore], block_map: BlockMap
) -> tuple[SnapshotSource, list[tuple[SnapshotFile, ...]]]:
    """The newest snapshot of these agents, one for each rank, and what each has of it."""
    newest = agents[0].held().snapshots[-1]
    key = (newest.generation, newest.step)
    files = [
        tuple(
            SnapshotFile(
                generation=one.generation, step=one.step, path=one.path, index_json=one.index_json,
                recipe_sha256=one.recipe_sha256,
            )
            for one in store.of(key)
        )
        for store in agents
    ]  # fmt: skip
    have = [
        {
            block
            for span in store.held().snapshots[-1].blocks
            for block in range(span.first_block, span.first_block + span.blocks_count)
        }
        for store in agents
    ]
    moves = [
        (block, next(source for source, blocks in enumerate(have) if block in blocks), rank)
        for rank in range(len(agents))
        for block in held_blocks(block_map, rank)
        if block not in have[rank]
    ]
    sizes = [end - begin for begin, end in (block_bounds(block_map, block) for block, _, _ in moves)]
    plan = tuple(
        TransferMove(
            id=number, first_block=block, blocks=1, source_rank=giver, target_rank=rank, bytes=12 * size
        )
        for number, ((block, giver, rank), size) in enumerate(zip(moves, sizes, strict=True))
    )
    return SnapshotSource(generation=key[0], step=key[1], moves=plan), files
