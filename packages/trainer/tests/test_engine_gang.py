"""A dead rank is noticed by every rank of its group, also by those that wait for somebody else."""

from __future__ import annotations

import os
import threading
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest
import torch
from torch._C._distributed_c10d import TCPStore

from shardwright_trainer.plan.config import BlockMap, BlockRun, FreshSource, GenerationPlan
from shardwright_trainer.rank.engine_gang import Gang
from shardwright_trainer.rank.errors import PeerLost

WORLD = 3
TIMEOUT_SECONDS = 60.0


def _plan(rank: int, port: int) -> GenerationPlan:
    block_map = BlockMap(
        elements=1, block_elements=1, blocks=1, runs=(BlockRun(first_block=0, blocks=1, holders=(0,)),)
    )
    return GenerationPlan(
        generation=1, rank=rank, world_size=WORLD, block_map=block_map, lanes=(), source=FreshSource(),
        store_host="127.0.0.1", store_port=port, store_prefix="gang", save_every_steps=1, total_steps=1,
        collective_timeout_seconds=TIMEOUT_SECONDS,
    )  # fmt: skip


def _serve(rank: int, port: int, pipe: Connection) -> None:
    gang = Gang(_plan(rank, port), "cpu")
    pipe.send("connected")
    if rank == 0:
        pipe.recv()
        os._exit(9)
    peers = (0, 2) if rank == 1 else (1,)
    kept: PeerLost | None = None
    try:
        gang.exchange([], [(peer, torch.ones(4)) for peer in peers])
    except PeerLost as lost:
        kept = lost  # as a rank does while it regroups: the frames of the failure stay alive
        pipe.send("lost")
    pipe.recv()
    assert kept is not None


def test_a_rank_that_waits_for_a_survivor_hears_of_the_death_at_once() -> None:
    """0 dies; 1 waits for 0 and for 2, so it fails; 2 waits for 1 only, which is alive."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = get_context("spawn")
    pipes, processes = [], []
    for rank in range(WORLD):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(rank, store.port, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        for pipe in pipes:
            assert pipe.poll(120)
            assert pipe.recv() == "connected"
        pipes[0].send("die")
        began = time.monotonic()
        for pipe in pipes[1:]:
            assert pipe.poll(TIMEOUT_SECONDS / 2)
            assert pipe.recv() == "lost"
        assert time.monotonic() - began < TIMEOUT_SECONDS / 2
    finally:
        for process in processes:
            process.kill()
            process.join(10)


def test_a_rank_that_waits_for_a_peer_can_be_told_to_give_up() -> None:
    """The peer was killed before it came; nobody waits out the timeout of the collectives for it."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    given_up = threading.Event()

    def check() -> None:
        if given_up.is_set():
            raise PeerLost("given up")

    threading.Timer(0.3, given_up.set).start()
    began = time.monotonic()
    with pytest.raises(PeerLost, match="given up"):
        Gang(_plan(0, store.port), "cpu", check)
    assert time.monotonic() - began < 2.0
