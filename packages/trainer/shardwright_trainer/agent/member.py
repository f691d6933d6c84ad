"""The member between control plane and ranks: what it is told to do, fenced by generation."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.agent import statements
from shardwright_trainer.agent.hearing import Hearing, Ranks
from shardwright_trainer.agent.loading import gather_materials
from shardwright_trainer.agent.outbox import Outbox
from shardwright_trainer.agent.roster import Roster, Seat
from shardwright_trainer.agent.statements import Identity
from shardwright_trainer.agent.supervise import Exit
from shardwright_trainer.rank.errors import UserError


class Member:
    """One member. Everything runs on the agent's event loop; nothing here blocks."""

    def __init__(self, identity: Identity, ranks: Ranks, clock: Callable[[], float] = time.monotonic) -> None:
        self.identity = identity
        self._roster = Roster()
        self.outbox = Outbox(self.hello)
        self.hearing = Hearing(self._roster, self.outbox, ranks, self._start_rank, clock)
        self.stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ranks = ranks
        self._load: agent.Load | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_leaving = False

    def hello(self) -> agent.Hello:
        """The first message of a session."""
        return statements.hello(self.identity, self._load, self._roster, self.hearing.saves.steps())

    # -- from the control plane

    def on_directive(self, response: agent.SessionResponse) -> None:
        """Everything the control plane says comes through here; past generations are dropped here."""
        roster, generation = self._roster, response.generation
        match response.WhichOneof("body"):
            case "load" if self._load is None:
                self._load = response.load
                self._run(self._start(response.load))
            case "prepare" if generation > roster.newest:
                roster.newest = generation
                self._prepare(generation, response.prepare)
            case "commit" if roster.prepared is not None and roster.prepared.generation == generation:
                self._commit(response)
            case "discard":
                self._discard(generation)
            case "ack_steps":
                self.outbox.acknowledge(response.ack_steps.step)
            case "persist":
                key = response.persist.key
                self._run(self.hearing.saves.persist(key.generation or generation, response.persist))
            case "save_decided":
                self._decide(response.save_decided)
            case "restart_rank" if response.restart_rank.local_rank in roster.slots:
                self._ranks.end_hung(response.restart_rank.local_rank)
            case "stop":
                self.stop(response.stop.why)

    def stop(self, why: str) -> None:
        """Ends the member: its ranks are told, `stopped` is set."""
        for local_rank in self._roster.slots:
            self._ranks.send(local_rank, link.RankDirective(stop=agent.Stop(why=why)))
        if not self.stopped.done():
            self.stopped.set_result(why)

    def leave(self, why: str) -> bool:
        """Gives notice, again with every new session; False where it holds nothing and nobody hears it."""
        self.is_leaving = True
        self.outbox.post_standing("leaving", agent.SessionRequest(leaving=agent.Leaving(why=why)))
        return self.outbox.is_open or self._roster.running is not None

    def close(self) -> None:
        """Lets go of everything after the ranks ended."""
        for task in self._tasks:
            task.cancel()
        self.hearing.saves.free_all()
        self.hearing.snapshots.close()

    def _prepare(self, generation: int, prepare: agent.PrepareGeneration) -> None:
        mine = next((entry for entry in prepare.members if entry.member == self.identity.member), None)
        if mine is None:
            return
        absent = [rank for rank in mine.local_ranks if rank not in self._roster.slots]
        if absent:
            self.hearing.fail_generation(
                generation, "PlanRefused", f"this member has no local ranks {absent}"
            )
            return
        rest = prepare.source.snapshot
        snapshot = (rest.generation, rest.step) if prepare.source.HasField("snapshot") else None
        seat = Seat(
            generation=generation,
            local_ranks=tuple(mine.local_ranks),
            first_rank=mine.first_rank,
            snapshot=snapshot,
        )
        self._roster.seat(seat)
        self.outbox.withdraw("ready", "failed", "finished", "interrupted")
        # A rank needs its own entry only; of the others it knows ranks and blocks.
        passed = agent.PrepareGeneration()
        passed.CopyFrom(prepare)
        del passed.members[:]
        passed.members.append(mine)
        directive = link.RankDirective(generation=generation, prepare=passed)
        if snapshot is not None:
            directive.snapshots.extend(self.hearing.snapshots.of(snapshot))
        self._tell(seat.local_ranks, directive)

    def _commit(self, response: agent.SessionResponse) -> None:
        seat = self._roster.take_seat(response.commit.step)
        self.hearing.begin_at(response.commit.step)
        self.outbox.withdraw("ready", "interrupted", "finished")
        directive = link.RankDirective(generation=seat.generation, commit=response.commit)
        self._tell(seat.local_ranks, directive)

    def _discard(self, generation: int) -> None:
        roster = self._roster
        directive = link.RankDirective(generation=generation, discard=agent.DiscardGeneration())
        if roster.prepared is not None and roster.prepared.generation == generation:
            self._tell(roster.prepared.local_ranks, directive)
            roster.prepared = None
            self.outbox.withdraw("ready", "failed")
        elif generation > roster.newest:
            # Made while no session was there, and given up: its ranks never heard of it and wait.
            roster.newest = generation
            roster.unseat()
            self.hearing.tell_interrupted()
        elif roster.running is not None and generation == roster.running.generation:
            # The running generation: its ranks pause at the next step boundary and report what they hold.
            self._tell(roster.running.local_ranks, directive)

    def _decide(self, decided: agent.SaveDecided) -> None:
        key = decided.key
        self.hearing.saves.decided(key.generation, key)
        self.outbox.withdraw(("staged", key.generation, key.step))
        self.outbox.withdraw_where(lambda kept: isinstance(kept, tuple) and kept[:2] == ("save", key.save_id))
        freed = link.RankDirective(staged_freed=link.StagedFreed(step=key.step))
        self._tell(tuple(self._roster.slots), freed)

    def _tell(self, local_ranks: tuple[int, ...], directive: link.RankDirective) -> None:
        for local_rank in local_ranks:
            self._ranks.send(local_rank, directive)

    # -- loading

    async def _start(self, load: agent.Load) -> None:
        self._roster.add(load.ranks_count)
        self._ranks.start(load.ranks_count, load.plan.recipe.threads_per_rank_count)
        try:
            self.hearing.materials = await gather_materials(load, self._tell_loading)
        except UserError as error:
            self._fail_loading("user_error", f"{error.code}: {error.sentence}")
            return
        except Exception as error:  # whatever it was, the control plane must hear of it
            traceback.print_exc()
            self._fail_loading("unknown", f"Loading failed: {type(error).__name__}: {error}")
            return
        for slot in self._roster.slots.values():
            if slot.pid:
                self._start_rank(slot.local_rank)

    def _fail_loading(self, cause: str, sentence: str) -> None:
        pid = os.getpid()
        self.hearing.tell_exit(
            Exit(local_rank=0, pid=pid, status=1, cause=cause, sentence=sentence, respawning=False)
        )

    def _tell_loading(self, phase: str, ratio: float, detail: str) -> None:
        self.outbox.post(
            agent.SessionRequest(loading=agent.Loading(phase=phase, done_ratio=ratio, detail=detail))
        )

    def _start_rank(self, local_rank: int) -> None:
        load, materials = self._load, self.hearing.materials
        if load is None or materials is None:
            return  # told again when the materials are there
        start = link.RankStart(
            job_name=load.job_name,
            spec_json=load.spec_json,
            plan=load.plan,
            work_directory=load.work_directory,
            data_directory=materials.data_directory,
            data=materials.facts,
            model_directory=materials.model_directory,
        )
        self._ranks.send(local_rank, link.RankDirective(start=start))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
