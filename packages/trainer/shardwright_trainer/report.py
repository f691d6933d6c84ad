"""What a rank tells its agent: progress of loading, a beat every second, finished steps, staged saves."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.plan.config import Snapshot, Staged, StepOutcome
from shardwright_trainer.plan.wire import snapshot_to_pb, staged_to_pb, step_report_to_pb
from shardwright_trainer.rank.link import LinkClosed

BEAT_SECONDS = 1.0
# Loading says something new at most this often.
LOADING_SECONDS = 0.25
# The job's log shows the course of training, not every step of it.
STEP_LINE_SECONDS = 5.0


class Sender(Protocol):
    """What a report needs of the link."""

    def send(self, message: link.RankMessage) -> None: ...


class RankReport:
    """Reports of one rank process. `phase` is also called by the engine, for loading and inside each step."""

    def __init__(self, sender: Sender, local_rank: int) -> None:
        self._sender = sender
        self._local_rank = local_rank
        self._loading = True
        self._said = 0.0
        self._phase = "idle"
        self._step = 0
        self._lined = 0.0
        self._stalled = 0.0
        self._stopping = threading.Event()

    def beat_until_closed(self) -> None:
        """Starts the thread that beats every second, whatever the main thread is doing."""
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def close(self) -> None:
        """Ends the beats."""
        self._stopping.set()

    def phase(self, name: str, ratio: float) -> None:
        """While loading: a phase and how much of it is done. Afterwards: what the rank is doing now."""
        self._phase = name
        now = time.monotonic()
        if self._loading and (ratio in {0.0, 1.0} or now - self._said >= LOADING_SECONDS):
            self._said = now
            self._sender.send(link.RankMessage(loading=agent.Loading(phase=name, done_ratio=ratio)))

    def loaded(self, message: link.RankLoaded) -> None:
        """The model is in memory; from now on `phase` only changes what the beats say."""
        self._loading = False
        self._phase = "idle"
        message.rss_bytes = rss_bytes()
        self._sender.send(link.RankMessage(loaded=message))

    def step(self, generation: int, rank: int, outcome: StepOutcome) -> None:
        """One optimizer step, also one that was reported before: equal numbers change nothing."""
        self._step = outcome.step
        report = step_report_to_pb(outcome, rank, rss_bytes())
        report.stall_seconds, self._stalled = self._stalled, 0.0
        self._sender.send(link.RankMessage(generation=generation, step=report))
        now = time.monotonic()
        # Steps that are told again took no time here and were in the log before.
        is_due = outcome.step == 1 or now - self._lined >= STEP_LINE_SECONDS
        if rank == 0 and outcome.seconds > 0 and is_due:
            self._lined = now
            self.log(
                "info",
                f"step {outcome.step}: loss {outcome.loss:.4f}, gradient norm {outcome.grad_norm:.3f}, "
                f"learning rate {outcome.learning_rate:.3g}, {outcome.seconds:.2f} s",
            )

    def stalled(self, seconds: float) -> None:
        """Copying blocks for a save has blocked the rank; told with its next step."""
        self._stalled += seconds

    def staged(self, generation: int, rank: int, step: int, trigger: str, staged: Staged | None) -> None:
        """The end of staging; a rank that owns no block says so with an empty path."""
        nothing = link.RankStaged(step=step, trigger=trigger, writer=rank)
        message = nothing if staged is None else staged_to_pb(staged, rank)
        self._sender.send(link.RankMessage(generation=generation, staged=message))

    def snapshot(self, snapshot: Snapshot) -> None:
        """Copies of blocks are in memory, for the agent to keep."""
        message = link.RankMessage(generation=snapshot.generation, snapshot=snapshot_to_pb(snapshot))
        self._sender.send(message)

    def finished(self, generation: int, step: int) -> None:
        """The last step is done and its save is staged."""
        self._sender.send(link.RankMessage(generation=generation, finished=agent.Finished(step=step)))

    def log(self, level: str, text: str) -> None:
        """One line for the job's log."""
        line = agent.LogLine(time_unix_ms=int(time.time() * 1000), level=level, text=text)
        self._sender.send(link.RankMessage(log=line))

    def fault(self, cause: str, code: str, sentence: str) -> None:
        """The rank cannot go on and ends after this."""
        self._sender.send(link.RankMessage(fault=link.RankFault(cause=cause, code=code, sentence=sentence)))

    def _beat(self) -> None:
        while not self._stopping.wait(BEAT_SECONDS):
            beat = agent.RankBeat(
                local_rank=self._local_rank, step=self._step, phase=self._phase, rss_bytes=rss_bytes()
            )
            try:
                self._sender.send(link.RankMessage(beat=beat))
            except LinkClosed:
                return


def rss_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0
