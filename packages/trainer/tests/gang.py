"""Real rank processes on loopback, driven one command at a time: engines, gloo, an outside store, SIGKILL."""

from __future__ import annotations

import hashlib
import os
import signal
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from gang_mutants import MUTANTS
from models import data_of
from torch._C._distributed_c10d import TCPStore

from shardwright_trainer.plan.block_map import held_blocks, holders_of
from shardwright_trainer.plan.config import (
    BlockMap,
    BlockRun,
    Evidence,
    FreshSource,
    GenerationPlan,
    Holding,
    LaneRange,
    RankConfig,
    SnapshotFile,
    StateSource,
    TransferMove,
)
from shardwright_trainer.plan.flat import block_bounds

TIMEOUT_SECONDS = 60.0
ANSWER_SECONDS = 120.0

_context = get_context("forkserver")
_context.set_forkserver_preload(
    ["torch", "transformers", "peft", "shardwright_trainer.rank.step", "models", "gang"]
)


class RankFailure(Exception):  # noqa: N818
    """What a rank process raised; args: (class name, text)."""


@dataclass
class RankProcess:
    process: BaseProcess
    pipe: Connection

    def ask(self, command: str, *arguments: Any) -> Any:
        self.send(command, *arguments)
        return self.answer()

    def send(self, command: str, *arguments: Any) -> None:
        self.pipe.send((command, arguments))

    def answer(self) -> Any:
        """Raises RankFailure for what the rank raised, EOFError when it died."""
        if not self.pipe.poll(ANSWER_SECONDS):
            raise TimeoutError("a rank gave no answer")
        kind, value = self.pipe.recv()
        if kind == "error":
            raise RankFailure(*value)
        return value


class RankPool:
    """Rank processes and the store they meet at. Ranks are named by their place in `ranks`, not by
    generation."""

    def __init__(self) -> None:
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.ranks: list[RankProcess] = []
        self.generation = 0

    def grow(self, count: int) -> None:
        while len(self.ranks) < count:
            ours, theirs = _context.Pipe()
            process = _context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self.ranks.append(RankProcess(process, ours))

    def load(self, config: RankConfig, rows: int, members: Iterable[int], mutant: str | None = None) -> None:
        self.each(members, "load", config, rows, mutant)

    def each(self, members: Iterable[int], command: str, *arguments: Any) -> list[Any]:
        """The same command on several ranks at once; answers in order."""
        chosen = [self.ranks[member] for member in members]
        for rank in chosen:
            rank.send(command, *arguments)
        return [rank.answer() for rank in chosen]

    def attempt(self, members: Iterable[int], command: str, *arguments: Any) -> list[Any]:
        """As `each`, with what a rank raised in place of its answer."""
        chosen = [self.ranks[member] for member in members]
        for rank in chosen:
            rank.send(command, *arguments)
        answers: list[Any] = []
        for rank in chosen:
            try:
                answers.append(rank.answer())
            except (RankFailure, EOFError) as error:
                answers.append(error)
        return answers

    def form(
        self,
        members: Sequence[int],
        block_map: BlockMap,
        source: StateSource,
        lanes: int,
        *,
        snapshots: BlockMap | None = None,
        files: Sequence[tuple[SnapshotFile, ...]] = (),
    ) -> list[Evidence]:
        """A generation of these ranks, in this order: connect, adopt, commit.

        snapshots: who copies what; files: by rank, what its agent keeps.
        """
        plans = [
            replace(plan, snapshot_map=snapshots, snapshot_files=files[plan.rank] if files else ())
            for plan in self.plans(members, block_map, source, lanes)
        ]
        for member, plan in zip(members, plans, strict=True):
            self.ranks[member].send("form", plan)
        return [self.ranks[member].answer() for member in members]

    def plans(
        self, members: Sequence[int], block_map: BlockMap, source: StateSource, lanes: int
    ) -> list[GenerationPlan]:
        self.generation += 1
        ranges = spread_lanes(lanes, len(members))
        return [
            GenerationPlan(
                generation=self.generation, rank=rank, world_size=len(members), block_map=block_map,
                lanes=ranges, source=source, store_host="127.0.0.1", store_port=self.store.port,
                store_prefix=f"g{self.generation}", save_every_steps=100, total_steps=9,
                collective_timeout_seconds=TIMEOUT_SECONDS,
            )
            for rank in range(len(members))
        ]  # fmt: skip

    def bury(self, member: int) -> None:
        """Forgets a rank that was killed; a new process takes its place."""
        self.ranks[member].process.join(10)
        ours, theirs = _context.Pipe()
        process = _context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self.ranks[member] = RankProcess(process, ours)

    def close(self) -> None:
        for rank in self.ranks:
            rank.process.kill()
            rank.process.join(10)


def spread_map(elements: int, block_elements: int, world: int, copies: int = 1) -> BlockMap:
    """Blocks dealt out round-robin, which makes many runs; the copies go to the next ranks."""
    blocks = -(-elements // block_elements)
    runs = tuple(
        BlockRun(first_block=block, blocks=1, holders=tuple((block + copy) % world for copy in range(copies)))
        for block in range(blocks)
    )
    return BlockMap(elements=elements, block_elements=block_elements, blocks=blocks, runs=runs)


def spread_lanes(lanes: int, world: int) -> tuple[LaneRange, ...]:
    """Contiguous; the first ranks take one more."""
    ranges: list[LaneRange] = []
    begin = 0
    for rank in range(world):
        end = begin + lanes // world + (1 if rank < lanes % world else 0)
        ranges.append(LaneRange(rank=rank, begin=begin, end=end))
        begin = end
    return tuple(ranges)


def moves_between(old: BlockMap, new: BlockMap, new_rank_of: dict[int, int]) -> tuple[TransferMove, ...]:
    """One move for every block a new holder lacks, from a surviving holder. new_rank_of: old rank → new
    rank."""
    moves: list[TransferMove] = []
    for rank in sorted({holder for run in new.runs for holder in run.holders}):
        before = [one for one, now in new_rank_of.items() if now == rank]
        have = set(held_blocks(old, before[0])) if before else set()
        for block in sorted(set(held_blocks(new, rank)) - have):
            source = next(new_rank_of[holder] for holder in holders_of(old, block) if holder in new_rank_of)
            begin, end = block_bounds(new, block)
            moves.append(
                TransferMove(
                    id=len(moves), first_block=block, blocks=1, source_rank=source, target_rank=rank,
                    bytes=12 * (end - begin),
                )
            )  # fmt: skip
    return tuple(moves)


def target_version(holdings: Sequence[Holding]) -> int:
    """The highest v such that some rank has version v, or is pending at v − 1."""
    return max(holding.version + (1 if holding.pending else 0) for holding in holdings if holding.generation)


def run_job(pool: RankPool, config: RankConfig, rows: int, world: int, steps: int, **options: Any) -> Any:
    """Trains from step 0 in one generation; returns (hashes, per-rank outcomes)."""
    members = list(range(world))
    pool.grow(world)
    pool.load(config, rows, members, options.get("mutant"))
    elements = pool.ranks[0].ask("elements")
    block_map = spread_map(elements, config.block_elements, world, options.get("copies", 1))
    pool.form(members, block_map, FreshSource(), config.recipe.lanes)
    outcomes = pool.each(members, "steps", 0, steps)
    return hashes(pool, members), outcomes


def hashes(pool: RankPool, members: Sequence[int]) -> tuple[str, str]:
    """(parameters, optimizer state) of the whole job; asserts that all ranks have the same parameters."""
    answers = pool.each(members, "digests")
    assert len({answer[0] for answer in answers}) == 1, "ranks have different parameters"
    owned: dict[int, str] = {}
    for _, blocks in answers:
        owned |= blocks
    text = "\n".join(owned[block] for block in sorted(owned))
    return answers[0][0], hashlib.sha256(text.encode()).hexdigest()


def _serve(pipe: Connection) -> None:
    """A rank process: answers commands until the pipe closes."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    rank = _Rank()
    while True:
        try:
            command, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("value", getattr(rank, command)(*arguments)))
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            pipe.send(("error", (type(error).__name__, str(error), getattr(error, "code", ""), text)))


class _Rank:
    """The commands a rank process understands."""

    def __init__(self) -> None:
        self.engine: Any = None
        self.kill_at: tuple[int, str] | None = None
        self.kill_after = 0
        self.step = -1

    def load(self, config: RankConfig, rows: int, mutant: str | None = None) -> dict[str, Any]:
        from shardwright_trainer.rank.step import Engine

        if self.engine is not None:
            self.engine.close()
        MUTANTS[mutant]()
        self.engine = Engine(config, data_of(config, rows), self._hear)
        return {"recipe": self.engine.recipe_sha256, "layout": self.engine.layout.fingerprint}

    def _hear(self, phase: str, _ratio: float) -> None:
        if self.kill_at == (self.step, phase):
            if self.kill_after == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.kill_after -= 1

    def elements(self) -> int:
        return int(self.engine.layout.elements)

    def form(self, plan: GenerationPlan) -> Evidence:
        self.engine.connect(plan)
        evidence: Evidence = self.engine.adopt(plan)
        self.engine.commit(plan)
        return evidence

    def connect(self, plan: GenerationPlan) -> None:
        self.engine.connect(plan)

    def adopt(self, plan: GenerationPlan) -> Evidence:
        evidence: Evidence = self.engine.adopt(plan)
        return evidence

    def commit(self, plan: GenerationPlan) -> None:
        self.engine.commit(plan)

    def discard(self, plan: GenerationPlan) -> None:
        self.engine.discard(plan)

    def steps(self, begin: int, end: int) -> list[Any]:
        outcomes = []
        for step in range(begin, end):
            self.step = step
            outcomes.append(self.engine.take_step(step))
        return outcomes

    def arm(self, step: int, phase: str, after: int = 0) -> None:
        """SIGKILL of this process when it enters `phase` of `step` and has been in it `after` times."""
        self.kill_at, self.kill_after = (step, phase), after

    def buffers(self) -> dict[str, int]:
        """Gradient buffers that were ever needed at once: whole ones, and bytes of partial sums."""
        work, reduction = self.engine._work, self.engine._reduction
        return {
            "accumulators": work.accumulators.count,
            "partials": reduction.partials.nbytes,
            "arrivals": sum(one.nbytes for one in reduction.arrivals._buffers.values()),
        }

    def holding(self) -> Holding:
        holding: Holding = self.engine.holding()
        return holding

    def since(self, step: int) -> Any:
        return self.engine.outcomes_since(step)

    def stage(self, step: int) -> Any:
        return self.engine.stage(step, "periodic")

    def snapshot(self, step: int) -> Any:
        return self.engine.snapshot(step)

    def fail_memory(self) -> None:
        """From now on there is no memory for snapshots."""
        from shardwright_trainer.files.swc_errors import SaveError
        from shardwright_trainer.rank import engine_snapshot

        def full(*_: Any, **__: Any) -> Any:
            raise SaveError("ENOSPC", "memory is full")

        setattr(engine_snapshot, "stage_into", full)  # noqa: B010

    def digests(self) -> tuple[str, dict[int, str]]:
        flat = self.engine._trained.flat
        state = self.engine._committed.state
        owned = {
            block: hashlib.sha256(b"".join(_bytes(kind) for kind in state.kinds_of(block))).hexdigest()
            for block in state.held.owned
        }
        return hashlib.sha256(_bytes(flat)).hexdigest(), owned

    def layout(self) -> Any:
        return self.engine.layout

    def weights(self) -> Any:
        """The parameter buffer as fp32 numbers."""
        return self.engine._trained.flat.float().numpy().copy()


def _bytes(tensor: Any) -> bytes:
    import torch

    return bytes(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
