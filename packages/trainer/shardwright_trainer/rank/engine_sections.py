"""Where the time of a step goes, and the phase that heartbeats show."""

from __future__ import annotations

from time import perf_counter

from shardwright_trainer.rank.engine_gang import Progress

NAMES = ("data", "forward_backward", "reduce", "optimizer", "gather", "other")


class Sections:
    """A stopwatch with one running section."""

    def __init__(self, report: Progress) -> None:
        self.seconds = dict.fromkeys(NAMES, 0.0)
        self._report = report
        self._running: str | None = None
        self._since = perf_counter()

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def enter(self, name: str, phase: str) -> None:
        """Ends the running section and starts another; `phase` is what people see."""
        self._stop()
        self._running = name
        self._report(phase, 0.0)

    def leave(self, phase: str) -> None:
        self._stop()
        self._running = None
        self._report(phase, 0.0)

    def shift(self, source: str, target: str, seconds: float) -> None:
        """Moves seconds that were measured inside the running section `source` to another one."""
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    def _stop(self) -> None:
        now = perf_counter()
        if self._running is not None:
            self.seconds[self._running] += now - self._since
        self._since = now
