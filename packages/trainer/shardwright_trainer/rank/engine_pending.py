"""A step between its reduction and its update: all that is needed to finish it, whoever dies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shardwright_trainer.rank.engine_gang import Gang
from shardwright_trainer.rank.engine_history import StepFacts
from shardwright_trainer.rank.errors import StateError

HEADER = 6
"""Numbers in front of the lane losses in a handshake: version, digest, reduced step, known step, norm,
losses."""
NONE = -1.0


@dataclass(slots=True)
class Pending:
    """Gradients of one step."""

    step: int
    """0-based index of the step."""
    gradient_p: Tensor
    """Sum of the held blocks × 1/trained tokens; kept until the next step starts."""
    facts: StepFacts | None = None
    """Known once every rank had reduced its blocks: the step has passed its commit point as far as this
    rank knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What one rank said about itself when a generation connected."""

    version: int
    reduced: int | None
    """0-based index of the step whose gradients it has reduced."""
    known: tuple[int, float, tuple[float, ...]] | None
    """(step, norm, lane losses) of the step it has the norm of."""


def handshake(
    gang: Gang, version: int, pending: Pending | None, *, lanes: int, digest: int, device: torch.device
) -> list[Peer]:
    """Everybody's position, by rank. StateError when ranks do not run the same job (layout and recipe
    digest)."""
    mine = torch.full((HEADER + lanes,), NONE, dtype=torch.float64)
    mine[0], mine[1] = version, digest
    if pending is not None:
        mine[2] = pending.step
        if pending.facts is not None:
            losses = pending.facts.lane_losses
            mine[3], mine[4], mine[5] = pending.step, pending.facts.grad_norm, len(losses)
            mine[HEADER : HEADER + len(losses)] = torch.tensor(losses, dtype=torch.float64)
    gathered = [part.tolist() for part in gang.gather(mine.to(device), [len(mine)] * gang.world_size)]
    strangers = [rank for rank, part in enumerate(gathered) if part[1] != digest]
    if strangers:
        raise StateError(
            "RecipeMismatch", f"ranks {strangers} run another layout or recipe than rank {gang.rank}"
        )
    return [_peer(part) for part in gathered]


def _peer(numbers: Sequence[float]) -> Peer:
    known = None
    if numbers[3] != NONE:
        known = (int(numbers[3]), numbers[4], tuple(numbers[HEADER : HEADER + int(numbers[5])]))
    reduced = None if numbers[2] == NONE else int(numbers[2])
    return Peer(version=int(numbers[0]), reduced=reduced, known=known)


def known_facts(peers: Sequence[Peer], step: int) -> tuple[float, tuple[float, ...]] | None:
    """(norm, lane losses) of a step, from whichever rank has them; they are the same bits on all that do."""
    for peer in peers:
        if peer.known is not None and peer.known[0] == step:
            return peer.known[1], peer.known[2]
    return None
