"""Directives that come again: a new session sends everything anew, so a rank must take each of them once.

All that were told come again before every new one and after every step, the worst that lost connections can
do. What a rank does must be what it does when each comes once; with a rule of the fence deleted it is not.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import pytest
from test_loop import ALL_STAGED, TOTAL, FakeEngine, ScriptedAgent, staged, steps, stop_when_finished

from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.rank import membership
from shardwright_trainer.rank.errors import PeerLost
from shardwright_trainer.rank.loop import run
from shardwright_trainer.report import RankReport

DIRECTIVES_MAX = 400
"""Far more than a job of six steps has with all its echoes."""


class EchoingAgent(ScriptedAgent):
    """Tells everything from the beginning again before each new directive, and after each step."""

    def __init__(self, on_message: Any) -> None:
        super().__init__(on_message)
        self._told: list[link.RankDirective] = []

    def send(self, message: link.RankMessage) -> None:
        super().send(message)
        if message.WhichOneof("body") == "step":
            self.waiting.extend(self._told)

    def tell(self, generation: int = 0, **body: object) -> None:
        directive = link.RankDirective(generation=generation, **body)  # type: ignore[arg-type]
        assert len(self.waiting) < DIRECTIVES_MAX, "the rank asks for ever more"
        self.waiting.extend([*self._told, directive])
        if directive.WhichOneof("body") != "stop":
            self._told.append(directive)


def calls(module: ModuleType, channel: ScriptedAgent, lost_at: int | None) -> list[str]:
    """What the engine is asked for, with a peer lost in that step."""
    engine = FakeEngine({} if lost_at is None else {lost_at: PeerLost("gone")})
    channel.prepare(1, 0)
    channel.commit(1, 0)
    run(module.Membership(channel, engine, 0, 99), engine, RankReport(channel, 0))
    assert steps(channel) == list(range(1, TOTAL + 1)) and staged(engine) == ALL_STAGED
    return engine.calls


@pytest.mark.parametrize("lost_at", [None, *range(TOTAL)])
def test_what_comes_again_is_not_done_again(lost_at: int | None) -> None:
    once = calls(membership, ScriptedAgent(stop_when_finished), lost_at)
    assert calls(membership, EchoingAgent(stop_when_finished), lost_at) == once


RULES = {
    "a generation is prepared once": (
        'case "prepare" if directive.generation > self._newest:',
        'case "prepare":',
    ),
    "an older generation interrupts no step": (
        'if kind == "prepare" and directive.generation > self._newest:',
        'if kind == "prepare":',
    ),
    "an older generation does not end the wait for a verdict": (
        'if kind == "stop" or (kind == "prepare" and ahead.generation > plan.generation):',
        'if kind == "stop" or kind == "prepare":',
    ),
    "a verdict is for its generation": ("if directive.generation != plan.generation:", "if False:"),
}


@pytest.mark.parametrize("name", RULES)
def test_a_deleted_rule_is_missed(name: str) -> None:
    rule, instead = RULES[name]
    source = inspect.getsource(membership)
    assert source.count(rule) == 1
    mutant = ModuleType("mutant")
    mutant.__dict__["__name__"] = membership.__name__
    exec(compile(source.replace(rule, instead), name, "exec"), mutant.__dict__)
    with pytest.raises((AssertionError, PeerLost)):
        for lost_at in (None, *range(TOTAL)):
            once = calls(membership, ScriptedAgent(stop_when_finished), lost_at)
            assert calls(mutant, EchoingAgent(stop_when_finished), lost_at) == once
