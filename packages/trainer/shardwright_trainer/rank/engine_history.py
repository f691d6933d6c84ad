"""The last steps as every rank knows them, so that no lane's report is lost with the rank that computed
it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

STEPS_KEPT_MAX = 64
"""A dead rank's reports lag by the steps the control plane has not acknowledged yet, a few seconds' worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """What all ranks agree on after the norm of a step; fp64."""

    step: int
    """0-based index of the step."""
    lane_losses: tuple[float, ...]
    """Loss sum of every lane with rows, in lane order."""
    grad_norm: float
    loss: float
    learning_rate: float


class History:
    """Facts of the latest steps, by step."""

    def __init__(self) -> None:
        self._facts: deque[StepFacts] = deque(maxlen=STEPS_KEPT_MAX)

    def add(self, facts: StepFacts) -> None:
        """A step that is computed again replaces what was kept of it and of later ones."""
        while self._facts and self._facts[-1].step >= facts.step:
            self._facts.pop()
        self._facts.append(facts)

    def since(self, step: int) -> list[StepFacts]:
        """Facts of the steps with index >= step, ascending."""
        return [facts for facts in self._facts if facts.step >= step]
