"""How a rank gets from one generation to the next: report, connect, adopt, wait for the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.plan.config import Evidence, GenerationPlan, Holding, Snapshot, Staged, StepOutcome
from shardwright_trainer.plan.wire import evidence_to_pb, generation_plan_from_pb, holding_to_pb
from shardwright_trainer.rank.errors import PeerLost, StateError


class Engine(Protocol):
    """What the loop and the membership need of rank/step.py; tests give a fake."""

    def holding(self) -> Holding: ...
    def connect(self, plan: GenerationPlan, check: Callable[[], None]) -> None: ...
    def adopt(self, plan: GenerationPlan) -> Evidence: ...
    def commit(self, plan: GenerationPlan) -> None: ...
    def discard(self, plan: GenerationPlan) -> None: ...
    def take_step(self, step: int) -> StepOutcome: ...
    def outcomes_since(self, step: int) -> list[StepOutcome]: ...
    def stage(self, step: int, trigger: str) -> Staged | None: ...
    def snapshot(self, step: int) -> Snapshot: ...
    def close(self) -> None: ...


class Link(Protocol):
    """What the membership needs of rank/link.py."""

    def send(self, message: link.RankMessage) -> None: ...
    def peek(self) -> link.RankDirective | None: ...
    def look(self) -> link.RankDirective: ...
    def wait(self) -> link.RankDirective: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A committed generation, and the number of steps done when it began."""

    plan: GenerationPlan
    step: int


class Membership:
    """The rank's part in making generations. `committed` is the number of the one it holds state of, or 0."""

    def __init__(self, channel: Link, engine: Engine, local_rank: int, pid: int) -> None:
        self._link = channel
        self._engine = engine
        self._local_rank = local_rank
        self._pid = pid
        self._running = 0
        self._newest = 0

    def check_boundary(self) -> None:
        """To be called between two steps: raises PeerLost when this rank is asked to leave the generation.

        Asked: told to pause (the running generation is discarded), to stop, or a newer generation is made.
        """
        while (directive := self._link.peek()) is not None:
            kind = directive.WhichOneof("body")
            if kind == "stop":
                raise PeerLost("told to stop")
            if kind == "prepare" and directive.generation > self._newest:
                raise PeerLost(f"generation {directive.generation} is being made")
            self._link.wait()
            if kind == "discard" and directive.generation == self._running:
                raise PeerLost("told to pause")
            # Anything else is of a generation that is over.

    def regroup(self, lost: PeerLost | None = None) -> Generation | None:
        """The next committed generation; None when told to stop.

        lost: why the last one ended. Its process group is left first, so that every peer notices, then the
        holding is reported. Without `lost` (at the start, and after the last step) the rank just waits.
        """
        if lost is not None:
            self._engine.close()
            self._report_holding()
        while True:
            directive = self._link.wait()
            match directive.WhichOneof("body"):
                case "stop":
                    return None
                case "discard" if directive.generation == self._running:
                    self._engine.close()
                    self._report_holding()
                case "prepare" if directive.generation > self._newest:
                    self._newest = directive.generation
                    found = self._join(directive)
                    if found is not None:
                        return found

    def _join(self, directive: link.RankDirective) -> Generation | None:
        """One try to make a generation; None when it was discarded."""
        began = time.monotonic()
        number = directive.generation
        try:
            rank = self._rank_in(directive.prepare)
            plan = generation_plan_from_pb(number, rank, directive.prepare, directive.snapshots)
        except ValueError as error:
            self._fail(number, "PlanRefused", str(error))
            return None
        try:
            self._engine.connect(plan, lambda: self._check_wanted(number))
            evidence = self._engine.adopt(plan)
        except (PeerLost, StateError, ValueError) as error:
            code = "PeerLost" if isinstance(error, PeerLost) else getattr(error, "code", "PlanRefused")
            self._engine.discard(plan)
            self._fail(number, code, str(error))
            self._report_holding()
            return None
        ready = link.RankReady(evidence=evidence_to_pb(evidence, plan.rank), seconds=time.monotonic() - began)
        self._link.send(link.RankMessage(generation=number, ready=ready))
        return self._verdict(plan)

    def _verdict(self, plan: GenerationPlan) -> Generation | None:
        """Waits for commit or discard. A newer prepare, or a stop, is a discard: it stays for the caller."""
        while True:
            ahead = self._link.look()
            kind = ahead.WhichOneof("body")
            if kind == "stop" or (kind == "prepare" and ahead.generation > plan.generation):
                self._engine.discard(plan)
                return None
            directive = self._link.wait()
            if directive.generation != plan.generation:
                continue
            if kind == "discard":
                self._engine.discard(plan)
                self._report_holding()
                return None
            if kind == "commit":
                self._engine.commit(plan)
                self._running = plan.generation
                return Generation(plan=plan, step=directive.commit.step)

    def _check_wanted(self, generation: int) -> None:
        """While peers are waited for: PeerLost when this generation is given up. A newer prepare, or a stop,
        stays for the caller."""
        while (directive := self._link.peek()) is not None:
            kind = directive.WhichOneof("body")
            if kind == "stop" or (kind == "prepare" and directive.generation > generation):
                raise PeerLost(f"generation {generation} is not wanted any more")
            self._link.wait()
            if kind == "discard" and directive.generation == generation:
                raise PeerLost(f"generation {generation} was given up while it connected")

    def _rank_in(self, prepare: agent.PrepareGeneration) -> int:
        """The agent passes on its own entry only. Raises ValueError for a generation without this rank."""
        for member in prepare.members:
            if self._local_rank in member.local_ranks:
                return int(member.first_rank) + list(member.local_ranks).index(self._local_rank)
        raise ValueError(f"local rank {self._local_rank} is not in this generation")

    def _fail(self, generation: int, code: str, sentence: str) -> None:
        failed = agent.GenerationFailed(code=code, sentence=sentence)
        self._link.send(link.RankMessage(generation=generation, generation_failed=failed))

    def _report_holding(self) -> None:
        holding = self._engine.holding()
        message = holding_to_pb(holding, self._local_rank, self._pid)
        self._link.send(link.RankMessage(generation=self._running, interrupted=message))
