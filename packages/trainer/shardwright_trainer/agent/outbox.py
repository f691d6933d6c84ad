"""What the member has to tell the control plane, so that a broken session loses nothing that matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent

# Unacknowledged steps while the control plane is away; the oldest are given up beyond it.
REPORT_BYTES_MAX = 64 << 20
# Beats and log lines are left out of a session that does not keep up.
QUEUE_SOFT_MAX = 1_000
# A peer that reads nothing at all is as good as gone.
QUEUE_HARD_MAX = 100_000

Queue = asyncio.Queue[agent.SessionRequest | None]


class Outbox:
    """Messages of three kinds: steps, kept until acknowledged; standing facts, kept while they are true, both
    sent again with every new session; and passing ones, which are lost without a session.
    """

    def __init__(self, hello: Callable[[], agent.Hello]) -> None:
        self._hello = hello
        self._queue: Queue | None = None
        self._standing: dict[Hashable, agent.SessionRequest] = {}
        self._steps: dict[tuple[int, int, int], agent.SessionRequest] = {}
        self._step_bytes = 0
        self.dropped_steps = 0

    def open(self) -> Queue:
        """The queue of a new session: Hello, every unacknowledged step, then every standing fact."""
        queue: Queue = asyncio.Queue()
        queue.put_nowait(agent.SessionRequest(hello=self._hello()))
        for request in (*self._steps.values(), *self._standing.values()):
            queue.put_nowait(request)
        self._queue = queue
        return queue

    def close(self) -> None:
        """The session ended."""
        self._queue = None

    @property
    def is_open(self) -> bool:
        """Whether a session is there to send with."""
        return self._queue is not None

    def post(self, request: agent.SessionRequest) -> None:
        """A passing message."""
        if self._queue is not None and self._queue.qsize() < QUEUE_SOFT_MAX:
            self._queue.put_nowait(request)

    def post_standing(self, key: Hashable, request: agent.SessionRequest) -> None:
        """A fact that holds until `withdraw(key)`; a newer one of the same key replaces it."""
        self._standing.pop(key, None)
        self._standing[key] = request
        self._put(request)

    def withdraw(self, *keys: Hashable) -> None:
        """These facts hold no longer."""
        for key in keys:
            self._standing.pop(key, None)

    def withdraw_where(self, matches: Callable[[Hashable], bool]) -> None:
        """Withdraws every fact whose key matches."""
        self.withdraw(*[key for key in self._standing if matches(key)])

    def post_step(self, generation: int, report: agent.StepReport) -> None:
        """A step report, kept until acknowledged."""
        request = agent.SessionRequest(generation=generation, step=report)
        # A step told again after a regroup may hold the lanes of other ranks: both are kept.
        self._steps[generation, report.step, report.rank] = request
        self._step_bytes += request.ByteSize()
        while self._step_bytes > REPORT_BYTES_MAX:
            oldest = next(iter(self._steps))
            self._step_bytes -= self._steps.pop(oldest).ByteSize()
            self.dropped_steps += 1
        self._put(request)

    def acknowledge(self, step: int) -> None:
        """The control plane holds all steps up to this one."""
        for key in [key for key in self._steps if key[1] <= step]:
            self._step_bytes -= self._steps.pop(key).ByteSize()

    def _put(self, request: agent.SessionRequest) -> None:
        if self._queue is None:
            return
        if self._queue.qsize() >= QUEUE_HARD_MAX:
            # Everything in it is kept elsewhere and comes again with the next session.
            self._queue.put_nowait(None)
            self._queue = None
            return
        self._queue.put_nowait(request)
