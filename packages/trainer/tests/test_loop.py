"""The loop of a rank with a fake engine and a scripted agent: every step once, every save, come what may."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import plan_pb2 as plan_pb
from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.plan.config import Evidence, GenerationPlan, Holding, Staged, StepOutcome
from shardwright_trainer.rank.errors import NonFiniteLoss, PeerLost, StateError
from shardwright_trainer.rank.loop import run
from shardwright_trainer.rank.membership import Membership
from shardwright_trainer.report import RankReport

TOTAL, EVERY = 6, 2


class ScriptedAgent:
    """The agent's end of the link: directives that wait, messages that came; `on_message` adds directives."""

    def __init__(self, on_message: Callable[[ScriptedAgent, link.RankMessage], None]) -> None:
        self.sent: list[link.RankMessage] = []
        self.waiting: deque[link.RankDirective] = deque()
        self.newest = 0
        self._on_message = on_message

    def send(self, message: link.RankMessage) -> None:
        self.sent.append(message)
        self._on_message(self, message)

    def peek(self) -> link.RankDirective | None:
        return self.waiting[0] if self.waiting else None

    def look(self) -> link.RankDirective:
        assert self.waiting, f"the rank waits for ever; it said {[m.WhichOneof('body') for m in self.sent]}"
        return self.waiting[0]

    def wait(self) -> link.RankDirective:
        self.look()
        return self.waiting.popleft()

    def tell(self, generation: int = 0, **body: object) -> None:
        self.waiting.append(link.RankDirective(generation=generation, **body))  # type: ignore[arg-type]

    def prepare(self, generation: int, version: int) -> None:
        self.newest = max(self.newest, generation)
        entry = agent.GenerationMember(member="m0", first_rank=3, ranks_count=1, local_ranks=[0])
        live = agent.LiveSource(target_version=version)
        fresh = agent.FreshSource()
        source = agent.StateSource(live=live) if version else agent.StateSource(fresh=fresh)
        self.tell(
            generation,
            prepare=agent.PrepareGeneration(
                members=[entry],
                world_size=4,
                block_map=plan_pb.BlockMap(),
                source=source,
                save_every_steps_count=EVERY,
                total_steps=TOTAL,
            ),
        )

    def commit(self, generation: int, step: int) -> None:
        self.tell(generation, commit=agent.CommitGeneration(step=step))

    def said(self, kind: str) -> list[link.RankMessage]:
        return [message for message in self.sent if message.WhichOneof("body") == kind]


class FakeEngine:
    """Counts what it is asked. `faults` maps a step index to what its first try raises."""

    def __init__(self, faults: dict[int, Exception] | None = None) -> None:
        self.version = 0
        self.faults = faults or {}
        self.calls: list[str] = []
        self.plan: GenerationPlan | None = None
        self.adopt_fault: Exception | None = None

    def holding(self) -> Holding:
        number = 0 if self.plan is None else self.plan.generation
        return Holding(generation=number, rank=3, version=self.version, pending=False)

    def connect(self, plan: GenerationPlan, check: Callable[[], None]) -> None:
        self.calls.append(f"connect {plan.generation}")

    def adopt(self, plan: GenerationPlan) -> Evidence:
        fault, self.adopt_fault = self.adopt_fault, None
        if fault is not None:
            raise fault
        self.calls.append(f"adopt {plan.generation}")
        return Evidence(
            owned_blocks=1,
            replica_blocks=0,
            optimizer_bytes=0,
            received_bytes=0,
            sent_bytes=0,
            version=self.version,
            owned_crc32c=0,
        )

    def commit(self, plan: GenerationPlan) -> None:
        self.plan = plan
        self.calls.append(f"commit {plan.generation}")

    def discard(self, plan: GenerationPlan) -> None:
        self.calls.append(f"discard {plan.generation}")

    def take_step(self, step: int) -> StepOutcome:
        assert step == self.version
        fault = self.faults.pop(step, None)
        if fault is not None:
            raise fault
        self.version += 1
        return StepOutcome(
            step=step + 1,
            lanes=(),
            loss=1,
            grad_norm=1,
            learning_rate=1,
            seconds=0,
            sections={},
            sent_bytes=0,
        )

    def outcomes_since(self, step: int) -> list[StepOutcome]:
        return []

    def stage(self, step: int, trigger: str) -> Staged | None:
        fault = self.faults.pop(1000 + step, None)
        if fault is not None:
            raise fault
        self.calls.append(f"stage {step} {trigger}")
        return Staged(step=step, trigger=trigger, path=f"/staged/{step}", index_json="{}", bytes=8)

    def close(self) -> None:
        self.calls.append("close")


def stop_when_finished(agent_: ScriptedAgent, message: link.RankMessage) -> None:
    """Starts a new generation from whatever the rank holds; stops at the end."""
    match message.WhichOneof("body"):
        case "interrupted":
            number = agent_.newest + 1
            agent_.prepare(number, message.interrupted.version)
            agent_.commit(number, message.interrupted.version)
        case "finished":
            agent_.tell(stop=agent.Stop(why="complete"))


def start(engine: FakeEngine, on_message: Callable[[ScriptedAgent, link.RankMessage], None]) -> ScriptedAgent:
    channel = ScriptedAgent(on_message)
    channel.prepare(1, 0)
    channel.commit(1, 0)
    run(Membership(channel, engine, 0, 99), engine, RankReport(channel, 0))
    return channel


def steps(channel: ScriptedAgent) -> list[int]:
    return [message.step.step for message in channel.said("step")]


def staged(engine: FakeEngine) -> list[str]:
    return [call for call in engine.calls if call.startswith("stage")]


ALL_STAGED = ["stage 2 periodic", "stage 4 periodic", "stage 6 final"]


def test_undisturbed() -> None:
    engine = FakeEngine()
    channel = start(engine, stop_when_finished)
    assert steps(channel) == list(range(1, TOTAL + 1)) and staged(engine) == ALL_STAGED
    assert channel.said("ready")[0].ready.evidence.rank == 3
    assert [message.finished.step for message in channel.said("finished")] == [TOTAL]


@pytest.mark.parametrize("step", range(TOTAL))
def test_a_lost_peer_at_any_step(step: int) -> None:
    engine = FakeEngine({step: PeerLost("gone")})
    channel = start(engine, stop_when_finished)
    assert steps(channel) == list(range(1, TOTAL + 1)) and staged(engine) == ALL_STAGED
    # The group is left before anything is said, so that every peer notices.
    assert engine.calls.index("close") < engine.calls.index("connect 2")
    assert [message.interrupted.version for message in channel.said("interrupted")] == [step]


def test_a_death_after_the_last_step_keeps_the_final_save() -> None:
    """The peers finish; one dies before its save: the next generation begins at the end and saves again."""
    engine = FakeEngine()

    def on_message(channel: ScriptedAgent, message: link.RankMessage) -> None:
        if message.WhichOneof("body") == "finished" and message.generation == 1:
            channel.tell(1, discard=agent.DiscardGeneration())
        else:
            stop_when_finished(channel, message)

    channel = start(engine, on_message)
    assert staged(engine) == [*ALL_STAGED, "stage 6 final"]
    assert [message.generation for message in channel.said("staged")][-2:] == [1, 2]


def test_pause_stops_at_the_next_boundary() -> None:
    engine = FakeEngine()

    def on_message(channel: ScriptedAgent, message: link.RankMessage) -> None:
        if message.WhichOneof("body") == "step" and message.step.step == 3:
            channel.tell(1, discard=agent.DiscardGeneration())
        else:
            stop_when_finished(channel, message)

    channel = start(engine, on_message)
    assert [message.interrupted.version for message in channel.said("interrupted")] == [3]
    assert steps(channel) == list(range(1, TOTAL + 1)) and staged(engine) == ALL_STAGED


def test_a_newer_generation_interrupts_a_running_one() -> None:
    engine = FakeEngine()

    def on_message(channel: ScriptedAgent, message: link.RankMessage) -> None:
        if message.WhichOneof("body") == "step" and message.step.step == 3:
            channel.prepare(7, 3)
            channel.commit(7, 3)
        elif message.WhichOneof("body") == "finished":
            channel.tell(stop=agent.Stop(why="complete"))

    channel = start(engine, on_message)
    assert "commit 7" in engine.calls and steps(channel) == list(range(1, TOTAL + 1))
    assert channel.said("interrupted")[0].generation == 1


def test_directives_of_past_generations_change_nothing() -> None:
    engine = FakeEngine()

    def on_message(channel: ScriptedAgent, message: link.RankMessage) -> None:
        if message.WhichOneof("body") == "step" and message.step.step == 2:
            channel.commit(1, 0)
            channel.prepare(1, 0)
            channel.tell(0, discard=agent.DiscardGeneration())
            channel.tell(staged_freed=link.StagedFreed(step=2))
        else:
            stop_when_finished(channel, message)

    channel = start(engine, on_message)
    assert steps(channel) == list(range(1, TOTAL + 1)) and not channel.said("interrupted")


@pytest.mark.parametrize(
    "fault", [PeerLost("gone"), StateError("Crc", "differs"), ValueError("a gap in the map")]
)
def test_a_generation_that_cannot_be_made_is_told_and_left(fault: Exception) -> None:
    engine = FakeEngine()
    engine.adopt_fault = fault
    channel = ScriptedAgent(stop_when_finished)
    channel.prepare(1, 0)
    run(Membership(channel, engine, 0, 99), engine, RankReport(channel, 0))
    failed = channel.said("generation_failed")[0]
    assert failed.generation == 1 and failed.generation_failed.sentence == str(fault)
    assert engine.calls[:2] == ["connect 1", "discard 1"]
    # Generation 0: it has never run. The next one is made all the same.
    assert channel.said("interrupted")[0].generation == 0


def test_a_discarded_generation_reports_the_holding_again() -> None:
    engine = FakeEngine()
    channel = ScriptedAgent(stop_when_finished)
    channel.prepare(4, 0)
    channel.tell(4, discard=agent.DiscardGeneration())
    channel.prepare(4, 0)  # late: its number is used
    channel.prepare(5, 0)
    channel.commit(4, 0)
    channel.commit(5, 0)
    channel.tell(stop=agent.Stop(why="complete"))
    run(Membership(channel, engine, 0, 99), engine, RankReport(channel, 0))
    assert "discard 4" in engine.calls and "commit 5" in engine.calls and "commit 4" not in engine.calls


class WaitingEngine(FakeEngine):
    """Its peers do not come: it waits until `check` says that this is not wanted any more."""

    def connect(self, plan: GenerationPlan, check: Callable[[], None]) -> None:
        super().connect(plan, check)
        if plan.generation == 4:
            check()
            raise AssertionError("it would have waited for ever")


@pytest.mark.parametrize("asked", ["discard", "prepare"])
def test_a_generation_given_up_while_it_connects_is_left_at_once(asked: str) -> None:
    engine = WaitingEngine()

    def on_message(channel: ScriptedAgent, message: link.RankMessage) -> None:
        if message.WhichOneof("body") == "finished":
            channel.tell(stop=agent.Stop(why="complete"))

    channel = ScriptedAgent(on_message)
    channel.prepare(4, 0)
    channel.tell(0, discard=agent.DiscardGeneration())  # of a generation long over: changes nothing
    if asked == "discard":
        channel.tell(4, discard=agent.DiscardGeneration())
    channel.prepare(5, 0)
    channel.commit(5, 0)
    run(Membership(channel, engine, 0, 99), engine, RankReport(channel, 0))
    assert engine.calls[:3] == ["connect 4", "discard 4", "connect 5"]
    assert steps(channel) == list(range(1, TOTAL + 1))


def test_a_rank_that_is_not_in_the_generation_says_so() -> None:
    engine = FakeEngine()
    channel = ScriptedAgent(lambda *_: None)
    channel.prepare(1, 0)
    channel.tell(stop=agent.Stop(why="cancelled"))
    run(Membership(channel, engine, 5, 99), engine, RankReport(channel, 5))
    assert channel.said("generation_failed")[0].generation_failed.code == "PlanRefused"


def test_a_periodic_save_that_cannot_be_staged_is_left_out() -> None:
    engine = FakeEngine({1002: StateError("StageFailed", "memory is full")})
    channel = start(engine, stop_when_finished)
    assert staged(engine) == ALL_STAGED[1:] and "memory is full" in channel.said("log")[0].log.text
    assert steps(channel) == list(range(1, TOTAL + 1))


def test_a_final_save_that_cannot_be_staged_ends_the_rank() -> None:
    engine = FakeEngine({1000 + TOTAL: StateError("StageFailed", "memory is full")})
    with pytest.raises(StateError):
        start(engine, stop_when_finished)


def test_a_loss_that_is_not_finite_ends_the_rank() -> None:
    engine = FakeEngine({2: NonFiniteLoss(2, 1, range(30))})
    with pytest.raises(
        NonFiniteLoss, match=r"step 3, lane 1 is not finite; its examples are 0, .* and 10 more"
    ):
        start(engine, stop_when_finished)


def test_stop_while_running() -> None:
    engine = FakeEngine()

    def on_message(channel: ScriptedAgent, message: link.RankMessage) -> None:
        if message.WhichOneof("body") == "step" and message.step.step == 2:
            channel.tell(stop=agent.Stop(why="cancelled"))

    channel = start(engine, on_message)
    assert steps(channel) == [1, 2] and "close" in engine.calls
