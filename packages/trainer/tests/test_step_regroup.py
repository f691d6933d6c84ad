"""Generations change while a job runs: ranks die at every phase, leave and join; the bits stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from gang import (
    RankFailure,
    RankPool,
    hashes,
    moves_between,
    run_job,
    spread_map,
    target_version,
)
from models import a_config

from shardwright_trainer.plan.config import (
    BlockMap,
    Evidence,
    FreshSource,
    LiveSource,
    RankConfig,
    TransferMove,
)

ROWS = 41
STEPS = 6


@pytest.fixture(scope="module")
def lora(folder: str) -> RankConfig:
    return a_config(folder)


@pytest.fixture(scope="module")
def undisturbed(pool: RankPool, lora: RankConfig) -> tuple[str, str]:
    found: tuple[str, str] = run_job(pool, lora, ROWS, 1, STEPS)[0]
    return found


@pytest.mark.parametrize("copies", [2, 4])
@pytest.mark.parametrize("phase", ["lanes", "reduce", "commit", "update", "gather"])
def test_a_rank_killed_in_any_phase_loses_nothing(
    pool: RankPool, lora: RankConfig, undisturbed: tuple[str, str], phase: str, copies: int
) -> None:
    _kill_one_of_four(pool, lora, phase, copies)
    assert hashes(pool, [0, 2, 3]) == undisturbed


@pytest.mark.parametrize("phase", ["lanes", "commit"])
def test_a_killed_rank_loses_nothing_of_needed_tokens(pool: RankPool, folder: str, phase: str) -> None:
    shape = {"lanes": 7, "micro_batches_per_lane": 1, "micro_batch_rows": 2}
    needed = a_config(folder, recipe={"computed_tokens": "needed", **shape})
    undisturbed = run_job(pool, needed, ROWS, 1, STEPS)[0]
    _kill_one_of_four(pool, needed, phase, 2)
    assert hashes(pool, [0, 2, 3]) == undisturbed


def _kill_one_of_four(pool: RankPool, config: RankConfig, phase: str, copies: int) -> None:
    """SIGKILL of rank 1 of 4 in the third step; three go on to the end, without any file."""
    old = _start(pool, config, [0, 1, 2, 3], copies)
    pool.ranks[1].ask("arm", 2, phase)
    answers = pool.attempt([0, 1, 2, 3], "steps", 0, STEPS)
    pool.bury(1)
    survivors = [0, 2, 3]
    assert isinstance(answers[1], EOFError)
    assert [answers[member].args[0] for member in survivors] == ["PeerLost"] * 3, answers
    holdings = pool.each(survivors, "holding")
    target = target_version(holdings)
    # A rank that entered its barrier lets the others finish the step; before that the step is run again.
    assert target == (2 if phase in ("lanes", "reduce") else 3)
    new = spread_map(old.elements, old.block_elements, 3, min(copies, 3))
    moves = moves_between(old, new, {0: 0, 2: 1, 3: 2})
    evidence = pool.form(survivors, new, LiveSource(target_version=target, moves=moves), config.recipe.lanes)
    assert {one.version for one in evidence} == {target}
    assert sum(one.received_bytes for one in evidence) == sum(move.bytes for move in moves)
    pool.each(survivors, "steps", target, STEPS)


def test_four_three_five_ranks(pool: RankPool, lora: RankConfig, undisturbed: tuple[str, str]) -> None:
    """A planned leave without copies, then two joiners: blocks move, nothing is read from disk."""
    old = _start(pool, lora, [0, 1, 2, 3], copies=1)
    pool.each([0, 1, 2, 3], "steps", 0, 2)
    middle = spread_map(old.elements, old.block_elements, 3)
    # The leaver (rank 1) has no part in the new map; it serves its blocks from the last place of the new
    # world.
    four = BlockMap(
        elements=old.elements, block_elements=old.block_elements, blocks=old.blocks, runs=middle.runs
    )
    order = [0, 2, 3, 1]
    moves = moves_between(old, four, {0: 0, 2: 1, 3: 2, 1: 3})
    pool.form(order, four, LiveSource(target_version=2, moves=moves), lora.recipe.lanes)
    pool.each(order, "steps", 2, 3)
    pool.form([0, 2, 3], middle, LiveSource(target_version=3, moves=()), lora.recipe.lanes)
    pool.each([0, 2, 3], "steps", 3, 4)
    pool.grow(5)
    pool.load(lora, ROWS, [1, 4])
    five = spread_map(old.elements, old.block_elements, 5)
    moves = moves_between(middle, five, {0: 0, 1: 1, 2: 2})
    evidence = pool.form([0, 2, 3, 1, 4], five, LiveSource(target_version=4, moves=moves), lora.recipe.lanes)
    assert [one.sent_bytes for one in evidence[3:]] == [0, 0]
    pool.each([0, 2, 3, 1, 4], "steps", 4, STEPS)
    assert hashes(pool, [0, 2, 3, 1, 4]) == undisturbed


def test_a_leaver_hands_over_and_is_gone_before_the_next_step(
    pool: RankPool, lora: RankConfig, undisturbed: tuple[str, str]
) -> None:
    """One copy of every block: rank 1 connects for the transfer, the others go on without it."""
    old = _start(pool, lora, [0, 1, 2, 3], copies=1)
    pool.each([0, 1, 2, 3], "steps", 0, 2)
    three = spread_map(old.elements, old.block_elements, 3)
    moves = moves_between(old, three, {0: 0, 2: 1, 3: 2, 1: 3})
    source = LiveSource(target_version=2, moves=moves)
    plans = [replace(plan, leavers=1) for plan in pool.plans([0, 2, 3], three, source, lora.recipe.lanes)]
    plans.append(replace(plans[0], rank=3))
    for command in ("connect", "adopt"):
        for member, plan in zip([0, 2, 3, 1], plans, strict=True):
            pool.ranks[member].send(command, plan)
        answers = [pool.ranks[member].answer() for member in [0, 2, 3, 1]]
    assert sum(one.received_bytes for one in answers) == sum(move.bytes for move in moves)
    given = sum(move.bytes for move in moves if move.source_rank == 3)
    assert given > 0
    assert answers[3] == Evidence(
        owned_blocks=0, replica_blocks=0, optimizer_bytes=0, received_bytes=0, sent_bytes=given,
        version=2, owned_crc32c=0,
    )  # fmt: skip
    # Until the commit it still holds what it held: a discard would find everything as it was.
    assert pool.ranks[1].ask("holding").version == 2
    pool.ranks[1].process.kill()
    pool.bury(1)
    for member, plan in zip([0, 2, 3], plans, strict=False):
        pool.ranks[member].ask("commit", plan)
    pool.each([0, 2, 3], "steps", 2, STEPS)
    assert hashes(pool, [0, 2, 3]) == undisturbed


def test_sixteen_bit_full_tuning_survives_a_kill(pool: RankPool, folder: str) -> None:
    config = a_config(folder, method="full", recipe={"compute_dtype": "bf16", "wire_dtype": "bf16"})
    expected = run_job(pool, config, ROWS, 2, STEPS)[0]
    old = _start(pool, config, [0, 1, 2], copies=2)
    pool.ranks[2].ask("arm", 3, "commit")
    pool.attempt([0, 1, 2], "steps", 0, STEPS)
    pool.bury(2)
    target = target_version(pool.each([0, 1], "holding"))
    new = spread_map(old.elements, old.block_elements, 2, 2)
    moves = moves_between(old, new, {0: 0, 1: 1})
    pool.form([0, 1], new, LiveSource(target_version=target, moves=moves), config.recipe.lanes)
    pool.each([0, 1], "steps", target, STEPS)
    assert hashes(pool, [0, 1]) == expected


def test_every_lane_can_be_reported_by_every_survivor(pool: RankPool, lora: RankConfig) -> None:
    """Reports of a dead rank are made again from what the others know, equal to the last bit."""
    _start(pool, lora, [0, 1, 2], copies=3)
    outcomes = pool.each([0, 1, 2], "steps", 0, 3)
    for survivor in (0, 2):
        again = pool.ranks[survivor].ask("since", 1)
        assert [one.step for one in again] == [2, 3]
        for one, reports in zip(again, list(zip(*outcomes, strict=True))[1:], strict=True):
            assert sorted(
                (lane for report in reports for lane in report.lanes), key=lambda lane: lane.lane
            ) == list(one.lanes)
            assert {report.loss for report in reports} == {one.loss}


def test_a_discarded_generation_leaves_the_state(
    pool: RankPool, lora: RankConfig, undisturbed: tuple[str, str]
) -> None:
    old = _start(pool, lora, [0, 1, 2], copies=1)
    pool.each([0, 1, 2], "steps", 0, 3)
    shrunk = spread_map(old.elements, old.block_elements, 3, copies=3)
    moves = moves_between(old, shrunk, {0: 0, 1: 1, 2: 2})
    plans = pool.plans([0, 1, 2], shrunk, LiveSource(target_version=3, moves=moves), lora.recipe.lanes)
    for command in ("connect", "adopt", "discard"):
        for member, plan in enumerate(plans):
            pool.ranks[member].send(command, plan)
        for member in range(3):
            pool.ranks[member].answer()
    holdings = pool.each([0, 1, 2], "holding")
    assert {(one.version, one.pending, one.generation) for one in holdings} == {
        (3, False, plans[0].generation - 1)
    }
    pool.form([0, 1, 2], old, LiveSource(target_version=3, moves=()), lora.recipe.lanes)
    pool.each([0, 1, 2], "steps", 3, STEPS)
    assert hashes(pool, [0, 1, 2]) == undisturbed


def test_a_plan_that_leaves_a_block_out_is_refused(pool: RankPool, lora: RankConfig) -> None:
    old = _start(pool, lora, [0, 1], copies=1)
    pool.each([0, 1], "steps", 0, 1)
    new = spread_map(old.elements, old.block_elements, 2, copies=2)
    moves = moves_between(old, new, {0: 0, 1: 1})
    said = _form_fails(pool, [0, 1], new, 1, moves[1:], config=lora)
    assert "TransferIncomplete" in said
    said = _form_fails(pool, [0, 1], new, 2, moves, config=lora)
    assert "VersionUnreachable" in said


def test_a_stranger_is_refused(pool: RankPool, lora: RankConfig, folder: str) -> None:
    """A rank with another recipe must not join: its bits would differ."""
    pool.grow(2)
    pool.load(lora, ROWS, [0])
    pool.load(a_config(folder, recipe={"cross_entropy_rows": 8}), ROWS, [1])
    elements = pool.ranks[0].ask("elements")
    block_map = spread_map(elements, lora.block_elements, 2)
    plans = pool.plans([0, 1], block_map, FreshSource(), lora.recipe.lanes)
    for member, plan in enumerate(plans):
        pool.ranks[member].send("form", plan)
    for member in range(2):
        with pytest.raises(RankFailure, match="RecipeMismatch"):
            pool.ranks[member].answer()


def _start(pool: RankPool, config: RankConfig, members: Sequence[int], copies: int) -> BlockMap:
    pool.grow(len(members))
    pool.load(config, ROWS, members)
    elements = pool.ranks[members[0]].ask("elements")
    block_map = spread_map(elements, config.block_elements, len(members), copies)
    pool.form(members, block_map, FreshSource(), config.recipe.lanes)
    return block_map


def _form_fails(
    pool: RankPool, members: Sequence[int], block_map: BlockMap, target: int, moves: Sequence[TransferMove],
    *, config: RankConfig,
) -> str:  # fmt: skip
    plans = pool.plans(
        members, block_map, LiveSource(target_version=target, moves=tuple(moves)), config.recipe.lanes
    )
    for member, plan in zip(members, plans, strict=True):
        pool.ranks[member].send("connect", plan)
    for member in members:
        pool.ranks[member].answer()
    answers = []
    for member, plan in zip(members, plans, strict=True):
        pool.ranks[member].send("adopt", plan)
    # The rank that notices refuses and closes; the other one then loses its peer.
    for member in members:
        try:
            answers.append(str(pool.ranks[member].answer()))
        except RankFailure as error:
            answers.append(f"{error.args[0]} {error.args[2]}")
            pool.ranks[member].ask("discard", plans[0])
    return " ".join(answers)
