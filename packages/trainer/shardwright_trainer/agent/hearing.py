"""What the ranks of a member say: fenced by generation, added up, passed on to the control plane."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.agent import statements
from shardwright_trainer.agent.loading import Materials
from shardwright_trainer.agent.outbox import Outbox
from shardwright_trainer.agent.persist import StagedSaves
from shardwright_trainer.agent.roster import RankSlot, Roster
from shardwright_trainer.agent.snapshots import SnapshotStore
from shardwright_trainer.agent.supervise import Exit

# Messages of a rank that belong to a generation: to which one, or they are dropped.
_OF_PREPARED = frozenset(("ready", "generation_failed"))
_OF_RUNNING = frozenset(("step", "staged", "snapshot", "finished"))
# Why a rank could not take up a snapshot: no other rank can.
_SPOILT = frozenset(("SnapshotMissing", "SnapshotForeign", "SnapshotCorrupt"))
# Log lines of one beat, and while no session is there.
LINES_HELD_MAX = 500


class Ranks(Protocol):
    """How the member reaches its rank processes (agent/main.py joins ranks.py and supervise.py)."""

    def start(self, count: int, threads: int) -> None: ...
    def send(self, local_rank: int, directive: link.RankDirective) -> None: ...
    def end_hung(self, local_rank: int) -> None: ...
    def note_fault(self, local_rank: int, fault: link.RankFault) -> None: ...
    def note_loaded(self, local_rank: int) -> None: ...


class Hearing:
    """The half of a member that faces its ranks. `materials` is set once they are gathered."""

    def __init__(
        self,
        roster: Roster,
        outbox: Outbox,
        ranks: Ranks,
        on_hello: Callable[[int], None],
        clock: Callable[[], float],
    ) -> None:
        """on_hello(local_rank): a rank connected and waits for its start. clock: monotonic seconds."""
        self.materials: Materials | None = None
        self.saves = StagedSaves(self._tell_of_save)
        self.snapshots = SnapshotStore()
        self._snapshots_untold = False
        self.outbox = outbox
        self._roster = roster
        self._ranks = ranks
        self._on_hello = on_hello
        self._clock = clock
        self._lines: list[agent.LogLine] = []

    def on_rank(self, local_rank: int, message: link.RankMessage) -> None:
        """Everything a rank says comes through here; what belongs to a past generation is dropped."""
        slot, kind = self._roster.slots[local_rank], message.WhichOneof("body")
        slot.heard = self._clock()
        if not self._is_current(kind or "", message.generation):
            return
        match kind:
            case "hello":
                slot.pid = message.hello.pid
                self._on_hello(local_rank)
            case "loading":
                slot.phase = message.loading.phase
                if local_rank == 0:
                    self.outbox.post(agent.SessionRequest(loading=message.loading))
            case "loaded":
                self._on_loaded(slot, message.loaded)
            case "ready":
                self._on_ready(slot, message.ready)
            case "generation_failed":
                failed = message.generation_failed
                self._drop_spoilt(failed.code)
                self.fail_generation(message.generation, failed.code, failed.sentence)
            case "beat":
                slot.phase, slot.rss_bytes = message.beat.phase, message.beat.rss_bytes
            case "step":
                slot.step = max(slot.step, message.step.step)
                self.outbox.post_step(message.generation, message.step)
            case "staged":
                self._on_staged(slot, message.generation, message.staged)
            case "snapshot":
                self._snapshots_untold |= self.snapshots.add(message.snapshot)
            case "interrupted":
                self._roster.report(slot, message.interrupted)
                self.tell_interrupted()
            case "finished":
                self._on_finished(slot, message.finished)
            case "log":
                self.note_line(local_rank, message.log.level, message.log.text)
            case "fault":
                self._ranks.note_fault(local_rank, message.fault)

    def on_exit(self, ended: Exit) -> None:
        """A rank process is gone: told at once, its part in everything is forgotten; snapshots stay."""
        self.tell_snapshots()
        self._roster.forget(ended.local_rank)
        self.outbox.withdraw("loaded")
        self.tell_exit(ended)
        prepared = self._roster.prepared
        if prepared is not None and ended.local_rank in prepared.local_ranks:
            self.fail_generation(prepared.generation, "RankExit", ended.sentence)
        self.outbox.withdraw("interrupted")
        self.tell_interrupted()

    def note_line(self, local_rank: int, level: str, text: str) -> None:
        """A line for the job's log; sent with the next beat."""
        rank = None if self._roster.running is None else self._roster.running.rank_of(local_rank)
        line = agent.LogLine(time_unix_ms=int(time.time() * 1000), rank=rank, level=level, text=text)
        if len(self._lines) < LINES_HELD_MAX:
            self._lines.append(line)

    def beat(self) -> None:
        """Sends proof of life of every rank, and the log lines and snapshots since the last one."""
        self.tell_snapshots()
        generation = self._roster.running_generation
        beat = statements.beat(self._roster, self._clock())
        self.outbox.post(agent.SessionRequest(generation=generation, beat=beat))
        if self._lines and self.outbox.is_open:
            self.outbox.post(agent.SessionRequest(logs=agent.LogLines(lines=self._lines)))
            self._lines = []

    def _is_current(self, kind: str, generation: int) -> bool:
        if kind in _OF_PREPARED:
            prepared = self._roster.prepared
            return prepared is not None and prepared.generation == generation
        if kind in _OF_RUNNING:
            return generation == self._roster.running_generation
        # A holding of generation 0 is one of a rank that has never run.
        return kind != "interrupted" or generation in {0, self._roster.running_generation}

    def _on_loaded(self, slot: RankSlot, loaded: link.RankLoaded) -> None:
        slot.loaded = loaded
        slot.rss_bytes = loaded.rss_bytes
        self._ranks.note_loaded(slot.local_rank)
        if not self._roster.is_loaded:
            return
        assert self.materials is not None
        self.tell_snapshots()
        message = statements.loaded(self._roster, self.materials)
        self.outbox.withdraw_where(lambda key: isinstance(key, tuple) and key[0] == "exit")
        generation = self._roster.running_generation
        self.outbox.post_standing("loaded", agent.SessionRequest(generation=generation, loaded=message))

    def _on_ready(self, slot: RankSlot, ready: link.RankReady) -> None:
        slot.ready = ready
        seat = self._roster.prepared
        if seat is None or not self._roster.is_ready():
            return
        message = statements.generation_ready(self._roster, seat)
        self.outbox.post_standing("ready", agent.SessionRequest(generation=seat.generation, ready=message))

    def begin_at(self, step: int) -> None:
        """A generation begins: snapshots of later steps are of no use any more."""
        self._snapshots_untold |= self.snapshots.undo_beyond(step)

    def tell_snapshots(self) -> None:
        """What this agent keeps. Told before anything that may make the control plane need it, otherwise with
        a beat: steps may be shorter than it is worth to speak of each."""
        if not self._snapshots_untold:
            return
        self._snapshots_untold = False
        request = agent.SessionRequest(snapshots_held=self.snapshots.held())
        self.outbox.post_standing("snapshots", request)

    def _drop_spoilt(self, code: str) -> None:
        seat = self._roster.prepared
        if code in _SPOILT and seat is not None and seat.snapshot is not None:
            self.snapshots.drop(seat.snapshot)
            self._snapshots_untold = True
            self.tell_snapshots()

    def fail_generation(self, generation: int, code: str, sentence: str) -> None:
        """The generation cannot be made here."""
        failed = agent.GenerationFailed(code=code, sentence=sentence)
        request = agent.SessionRequest(generation=generation, generation_failed=failed)
        self.outbox.post_standing("failed", request)

    def _on_staged(self, slot: RankSlot, generation: int, staged: link.RankStaged) -> None:
        self.saves.add(generation, staged)
        seat = self._roster.running
        assert seat is not None
        done = seat.staged.setdefault(staged.step, set())
        done.add(slot.local_rank)
        if done != set(seat.local_ranks):
            return
        del seat.staged[staged.step]
        writers, size = self.saves.staged(generation, staged.step)
        message = agent.SaveStaged(step=staged.step, trigger=staged.trigger, bytes=size, writers=writers)
        request = agent.SessionRequest(generation=generation, save_staged=message)
        self.outbox.post_standing(("staged", generation, staged.step), request)
        kept = set(self.saves.steps())
        self.outbox.withdraw_where(
            lambda key: isinstance(key, tuple) and key[0] == "staged" and key[2] not in kept
        )

    def _tell_of_save(self, request: agent.SessionRequest) -> None:
        if request.WhichOneof("body") == "prepared":
            report = request.prepared
            self.outbox.post_standing(("save", report.key.save_id, report.prepared.writer), request)
        else:
            failed = request.save_failed
            self.outbox.post_standing(("save", failed.key.save_id, failed.writer), request)

    def tell_interrupted(self) -> None:
        """What the ranks hold that stand at a boundary and wait."""
        holdings = self._roster.waiting()
        if not holdings:
            return
        self.tell_snapshots()
        message = agent.Interrupted(ranks=holdings, sentence="The ranks stopped at a step boundary and wait.")
        generation = self._roster.running_generation
        request = agent.SessionRequest(generation=generation, interrupted=message)
        self.outbox.post_standing("interrupted", request)

    def _on_finished(self, slot: RankSlot, finished: agent.Finished) -> None:
        slot.finished = True
        seat = self._roster.running
        assert seat is not None
        if all(other.finished for other in self._roster.of(seat.local_ranks)):
            request = agent.SessionRequest(generation=seat.generation, finished=finished)
            self.outbox.post_standing("finished", request)

    def tell_exit(self, ended: Exit) -> None:
        """A rank process, or the loading of the whole member, ended."""
        generation = self._roster.running_generation
        request = agent.SessionRequest(generation=generation, rank_exit=statements.rank_exit(ended))
        self.outbox.post_standing(("exit", ended.pid), request)
