"""What an agent keeps in memory for its ranks: copies of blocks, complete everywhere or of no use."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.files.snapshot_memory import memory_name
from shardwright_trainer.files.staged import StagedIndex, runs_of

# The one that is complete everywhere, the one being taken, and one of the generation before.
SLOTS_MAX = 3

Key = tuple[int, int]
"""(generation, step): also the order in which snapshots are taken, since a step comes again only in a later
generation."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One rank's part of a snapshot. descriptor: of its memory, which lives as long as this process."""

    descriptor: int
    message: link.RankSnapshot
    blocks: tuple[int, ...]


class SnapshotStore:
    """The snapshots of this member. Ranks come and go; what is kept ends with the agent."""

    def __init__(self) -> None:
        self._kept: dict[Key, dict[int, Kept]] = {}

    def add(self, snapshot: link.RankSnapshot) -> bool:
        """Takes over a rank's memory; False when the rank is gone, or has reused its descriptor, already.

        Then lets go of what is neither this snapshot nor the newest that every rank has taken.
        """
        try:
            descriptor = os.open(snapshot.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        expected = memory_name(snapshot.generation, snapshot.step, snapshot.rank)
        if f":{expected} " not in f"{name} ":
            os.close(descriptor)
            return False
        key = (snapshot.generation, snapshot.step)
        blocks = tuple(StagedIndex.from_json(snapshot.index_json).blocks())
        parts = self._kept.setdefault(key, {})
        if snapshot.rank in parts:
            os.close(parts[snapshot.rank].descriptor)
        parts[snapshot.rank] = Kept(descriptor, snapshot, blocks)
        complete = (snapshot.generation, snapshot.complete_step)
        for other in list(self._kept):
            is_before = other[0] < snapshot.generation and not snapshot.complete_step
            if other not in {key, complete} and not is_before:
                self.drop(other)
        for other in sorted(self._kept)[:-SLOTS_MAX]:
            self.drop(other)
        return True

    def undo_beyond(self, step: int) -> bool:
        """A generation begins at `step`: what was taken of later ones is of a past that did not happen, and
        goes. Whether there was any."""
        undone = [key for key in self._kept if key[1] > step]
        for key in undone:
            self.drop(key)
        return bool(undone)

    def drop(self, key: Key) -> None:
        """Lets go of one snapshot."""
        for kept in self._kept.pop(key, {}).values():
            with contextlib.suppress(OSError):
                os.close(kept.descriptor)

    def of(self, key: Key) -> list[link.RankSnapshot]:
        """What is kept of one snapshot, with paths that this member's ranks can open."""
        found: list[link.RankSnapshot] = []
        for _, kept in sorted(self._kept.get(key, {}).items()):
            message = link.RankSnapshot()
            message.CopyFrom(kept.message)
            message.path = f"/proc/{os.getpid()}/fd/{kept.descriptor}"
            found.append(message)
        return found

    def held(self) -> agent.SnapshotsHeld:
        """Everything that is kept, for the control plane."""
        return agent.SnapshotsHeld(
            snapshots=[
                agent.SnapshotHolding(
                    generation=key[0],
                    step=key[1],
                    blocks=_spans(parts),
                    bytes=sum(kept.message.bytes for kept in parts.values()),
                )
                for key, parts in sorted(self._kept.items())
            ]
        )

    def close(self) -> None:
        """Lets go of everything."""
        for key in list(self._kept):
            self.drop(key)


def _spans(parts: dict[int, Kept]) -> list[agent.BlockSpan]:
    blocks = sorted({block for kept in parts.values() for block in kept.blocks})
    return [agent.BlockSpan(first_block=first, blocks_count=count) for first, count in runs_of(blocks)]
