"""What an agent keeps of its ranks' snapshots: opened as its own, told apart, let go when replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.agent.snapshots import SLOTS_MAX, SnapshotStore
from shardwright_trainer.files.checkpoint import read_staged, stage_into
from shardwright_trainer.files.snapshot_memory import memory_name, new_memory

ELEMENTS, BLOCK_ELEMENTS = 10, 4
KINDS = ("master", "exp_avg", "exp_avg_sq")


@pytest.fixture
def store() -> Iterator[SnapshotStore]:
    kept = SnapshotStore()
    yield kept
    kept.close()


def a_snapshot(
    generation: int, step: int, *, rank: int = 0, complete: int = 0, blocks: tuple[int, ...] = (0, 1, 2)
) -> link.RankSnapshot:
    arrays = {kind: {block: np.full(BLOCK_ELEMENTS, step, "<f4") for block in blocks} for kind in KINDS}
    with new_memory(memory_name(generation, step, rank)) as descriptor:
        index_json, size = stage_into(descriptor, arrays, elements=ELEMENTS, block_elements=BLOCK_ELEMENTS)
    return link.RankSnapshot(
        generation=generation, step=step, rank=rank, path=f"/proc/{os.getpid()}/fd/{descriptor}",
        index_json=index_json, bytes=size, complete_step=complete,
    )  # fmt: skip


def let_go(snapshot: link.RankSnapshot) -> None:
    """The rank that took it ends."""
    os.close(int(snapshot.path.rpartition("/")[2]))


def keys(store: SnapshotStore) -> list[tuple[int, int]]:
    return [(one.generation, one.step) for one in store.held().snapshots]


def test_it_outlives_the_rank(store: SnapshotStore) -> None:
    snapshot = a_snapshot(1, 4, blocks=(0, 2))
    assert store.add(snapshot)
    let_go(snapshot)
    (kept,) = store.of((1, 4))
    found = read_staged(kept.path, kept.index_json, {0, 2})
    assert found["exp_avg"][2].tolist() == [4.0, 4.0]  # the last block is short
    (held,) = store.held().snapshots
    assert [(span.first_block, span.blocks_count) for span in held.blocks] == [(0, 1), (2, 1)]
    assert held.bytes == snapshot.bytes


def test_a_descriptor_of_something_else_is_not_taken(store: SnapshotStore) -> None:
    snapshot = a_snapshot(1, 4)
    for field, value in (("generation", 2), ("step", 40), ("rank", 1)):
        other = link.RankSnapshot()
        other.CopyFrom(snapshot)
        setattr(other, field, value)
        assert not store.add(other), field
    let_go(snapshot)
    assert not store.add(snapshot)
    assert keys(store) == []


def test_what_is_complete_stays_until_a_newer_is(store: SnapshotStore) -> None:
    for step, complete in ((1, 0), (2, 1), (3, 1)):
        assert store.add(a_snapshot(5, step, complete=complete))
    assert keys(store) == [(5, 1), (5, 3)]
    store.add(a_snapshot(5, 4, complete=3))
    assert keys(store) == [(5, 3), (5, 4)]
    # A generation that has completed none yet leaves that of the one before.
    store.add(a_snapshot(6, 5))
    assert keys(store) == [(5, 3), (5, 4), (6, 5)]
    store.add(a_snapshot(6, 6, complete=5))
    assert keys(store) == [(6, 5), (6, 6)]


def test_it_keeps_no_more_than_its_slots(store: SnapshotStore) -> None:
    for generation in range(1, 9):
        store.add(a_snapshot(generation, generation))
    assert keys(store) == [(number, number) for number in range(9 - SLOTS_MAX, 9)]


def test_a_past_that_did_not_happen_is_dropped(store: SnapshotStore) -> None:
    store.add(a_snapshot(1, 3))
    store.add(a_snapshot(1, 5, complete=3))
    assert not store.undo_beyond(5)
    assert store.undo_beyond(4)
    assert keys(store) == [(1, 3)]


def test_the_memory_is_free_when_nobody_has_it_open() -> None:
    store, snapshot = SnapshotStore(), a_snapshot(1, 4)
    store.add(snapshot)
    let_go(snapshot)
    (kept,) = store.of((1, 4))
    store.close()
    assert not os.path.exists(kept.path)
