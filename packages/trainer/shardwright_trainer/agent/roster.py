"""What the agent knows of its ranks, and what follows from all of them together. No process, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link


@dataclass(slots=True)
class RankSlot:
    """One rank process of this member, as it last showed itself."""

    local_rank: int
    pid: int = 0
    heard: float = 0.0
    """Seconds on the agent's monotonic clock."""
    loaded: link.RankLoaded | None = None
    holding: agent.RankHolding | None = None
    """As reported; None before the first report and once the rank runs on."""
    waits: bool = False
    """It reported a holding, and no generation was made with it since."""
    generation: int = 0
    """The committed generation this process took part in; 0 = none yet."""
    step: int = 0
    """Steps done, in that generation."""
    phase: str = "import"
    rss_bytes: int = 0
    ready: link.RankReady | None = None
    finished: bool = False


@dataclass(slots=True)
class Seat:
    """The part of one generation that is this member's: which local ranks, and their rank numbers."""

    generation: int
    local_ranks: tuple[int, ...]
    first_rank: int
    staged: dict[int, set[int]] = field(default_factory=dict)
    """step → local ranks that staged it."""
    snapshot: tuple[int, int] | None = None
    """(generation, step) of the snapshot it starts from."""

    def rank_of(self, local_rank: int) -> int | None:
        """The rank number of a local rank; None where it has no part."""
        if local_rank not in self.local_ranks:
            return None
        return self.first_rank + self.local_ranks.index(local_rank)


class Roster:
    """The ranks of a member and the two generations that may exist for it: the running and the prepared."""

    def __init__(self) -> None:
        self.slots: dict[int, RankSlot] = {}
        self.running: Seat | None = None
        self.prepared: Seat | None = None
        self.newest = 0
        """Highest generation ever heard of; older directives are dropped."""

    def add(self, count: int) -> None:
        """The member has `count` ranks."""
        self.slots = {local_rank: RankSlot(local_rank=local_rank) for local_rank in range(count)}

    def forget(self, local_rank: int) -> None:
        """The process of this rank is gone, and all it held."""
        self.slots[local_rank] = RankSlot(local_rank=local_rank)

    @property
    def is_loaded(self) -> bool:
        """Whether every rank has the model in memory."""
        return bool(self.slots) and all(slot.loaded is not None for slot in self.slots.values())

    @property
    def running_generation(self) -> int:
        """0 when none runs."""
        return 0 if self.running is None else self.running.generation

    def holding_of(self, slot: RankSlot) -> agent.RankHolding:
        """What a rank holds: as it reported, or at least the last step it told of."""
        if slot.holding is not None:
            return slot.holding
        if self.running is None or slot.generation != self.running.generation:
            return agent.RankHolding(local_rank=slot.local_rank, pid=slot.pid)
        return agent.RankHolding(
            local_rank=slot.local_rank,
            pid=slot.pid,
            generation=slot.generation,
            rank=self.running.rank_of(slot.local_rank) or 0,
            version=slot.step,
        )

    def holdings(self) -> list[agent.RankHolding]:
        """Of every loaded rank."""
        return [self.holding_of(slot) for slot in self.slots.values() if slot.loaded is not None]

    def report(self, slot: RankSlot, holding: agent.RankHolding) -> None:
        """The rank stands at a boundary, holds this, and waits for a generation."""
        slot.holding, slot.waits = holding, True

    def waiting(self) -> list[agent.RankHolding]:
        """Holdings of the ranks that said they wait."""
        return [self.holding_of(slot) for slot in self.slots.values() if slot.waits]

    def seat(self, seat: Seat) -> None:
        """A generation is being made with these ranks; they wait for nothing else."""
        self.prepared = seat
        for slot in self.of(seat.local_ranks):
            slot.ready, slot.waits = None, False

    def unseat(self) -> None:
        """Every loaded rank outside the running generation waits, whether it heard of a later one or not."""
        for slot in self.slots.values():
            if slot.loaded is not None and slot.generation != self.running_generation:
                slot.waits = True

    def is_ready(self) -> bool:
        """Whether every rank of the prepared generation is connected and verified."""
        seat = self.prepared
        return seat is not None and all(self.slots[rank].ready is not None for rank in seat.local_ranks)

    def take_seat(self, step: int) -> Seat:
        """The prepared generation is committed: it runs from `step`."""
        assert self.prepared is not None
        seat, self.prepared = self.prepared, None
        self.running = seat
        for slot in self.of(seat.local_ranks):
            slot.holding, slot.finished, slot.waits = None, False, False
            slot.generation, slot.step = seat.generation, step
        return seat

    def of(self, local_ranks: Iterable[int]) -> list[RankSlot]:
        """The slots of these local ranks."""
        return [self.slots[local_rank] for local_rank in local_ranks]
