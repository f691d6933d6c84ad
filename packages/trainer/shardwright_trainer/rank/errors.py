"""The ways a rank may stop, one class for each way the loop treats differently."""

from __future__ import annotations

from collections.abc import Sequence


class PeerLost(Exception):  # noqa: N818 - an event of membership, not a mistake
    """A collective failed because a peer is gone; this rank stands at a step boundary (Engine.holding)."""


class StateError(Exception):
    """The state of a generation cannot be taken or does not verify; the generation fails, the rank lives."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class UserError(ValueError):
    """What the user gave cannot be used; the job fails with this reason and is not tried again."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class NonFiniteLoss(UserError):  # noqa: N818 - named for what was seen
    """The loss of a lane is not finite.

    step: 0-based index of the step; example_ids: the examples of the micro-batch, for the user to look at.
    """

    def __init__(self, step: int, lane: int, example_ids: Sequence[int]) -> None:
        shown = ", ".join(str(example) for example in example_ids[:20])
        rest = f" and {len(example_ids) - 20} more" if len(example_ids) > 20 else ""
        super().__init__(
            "LossNonFinite",
            f"The loss of step {step + 1}, lane {lane} is not finite; its examples are {shown}{rest}. "
            "Lower the learning rate or check these examples.",
        )
        self.step = step
        self.lane = lane
        self.example_ids = tuple(example_ids)
