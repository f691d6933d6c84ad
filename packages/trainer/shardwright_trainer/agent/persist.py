"""Staged saves: files a rank left in memory, written to storage when the control plane says where."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1 import checkpoint_pb2 as checkpoint
from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.files.checkpoint import write_packs
from shardwright_trainer.files.swc_errors import SaveError

# Staged steps that nobody asked to write yet; older ones are given up, or a slow control plane fills memory.
WAITING_MAX = 4

Emit = Callable[[agent.SessionRequest], None]


@dataclass(slots=True)
class StagedStep:
    """What the ranks of this member staged at one step of one generation."""

    trigger: str
    files: dict[int, link.RankStaged] = field(default_factory=dict)
    """writer → staged file."""
    wanted: bool = False
    """A Persist came; the files stay until the save is decided."""


class StagedSaves:
    """Owns the staged files of a member. emit(report) sends WriterPreparedReport and SaveFailed."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._steps: dict[tuple[int, int], StagedStep] = {}
        self._tries: dict[tuple[str, int], int] = {}
        self._prepared: dict[tuple[str, int], agent.WriterPreparedReport] = {}
        self._writing: set[tuple[str, int]] = set()

    def steps(self) -> list[int]:
        """Steps that are staged and not decided."""
        return sorted({step for _, step in self._steps})

    def staged(self, generation: int, step: int) -> tuple[list[int], int]:
        """(writers, bytes) of one staged step; nothing for a step that is not staged any more."""
        found = self._steps.get((generation, step))
        files = {} if found is None else found.files
        return sorted(files), sum(file.bytes for file in files.values())

    def add(self, generation: int, staged: link.RankStaged) -> None:
        """Takes over one staged file."""
        found = self._steps.setdefault((generation, staged.step), StagedStep(trigger=staged.trigger))
        if staged.path:
            found.files[staged.writer] = staged
        waiting = [key for key, step in self._steps.items() if not step.wanted]
        for key in waiting[:-WAITING_MAX]:
            self._free(key)

    async def persist(self, generation: int, request: agent.Persist) -> None:
        """Writes every staged file of the save, one after another in a thread, and tells of each.

        A request that comes again is answered again, nothing is written twice.
        """
        key = request.key
        found = self._steps.get((generation, key.step))
        if found is None:
            message = f"step {key.step} of generation {generation} is not staged here"
            self._fail(generation, key, 0, ("NOT_STAGED", message))
            return
        found.wanted = True
        for writer, staged in sorted(found.files.items()):
            place = (key.save_id, writer)
            if place in self._prepared:
                self._emit(agent.SessionRequest(generation=generation, prepared=self._prepared[place]))
            elif place not in self._writing:
                self._writing.add(place)
                try:
                    await self._write(generation, request, staged)
                finally:
                    self._writing.discard(place)

    def decided(self, generation: int, key: checkpoint.SaveKey) -> None:
        """The save is committed or aborted: its memory is free again."""
        self._free((generation, key.step))
        for place in [place for place in self._prepared if place[0] == key.save_id]:
            del self._prepared[place]

    def free_all(self) -> None:
        """The member ends."""
        for key in list(self._steps):
            self._free(key)

    async def _write(self, generation: int, request: agent.Persist, staged: link.RankStaged) -> None:
        key = request.key
        place = (key.save_id, staged.writer)
        incarnation = self._tries.get(place, 0)
        self._tries[place] = incarnation + 1
        try:
            prepared = await asyncio.to_thread(
                write_packs,
                staged_path=staged.path,
                index_json=staged.index_json,
                schema_json=request.schema_json,
                directory=request.directory,
                writer=staged.writer,
                incarnation=incarnation,
                save_id=key.save_id,
                step=key.step,
                generation=key.generation,
                crc_block_bytes=request.crc_block_bytes,
            )
        except (SaveError, OSError, ValueError) as error:
            code = error.code if isinstance(error, SaveError) else type(error).__name__
            self._fail(generation, key, staged.writer, (code, str(error)))
            return
        report = agent.WriterPreparedReport(
            key=key,
            prepared=checkpoint.WriterPrepared(
                writer=staged.writer,
                incarnation=incarnation,
                manifest_path=prepared.manifest_path,
                manifest_sha256=prepared.manifest_sha256,
                bytes=prepared.bytes,
            ),
        )
        self._prepared[place] = report
        self._emit(agent.SessionRequest(generation=generation, prepared=report))

    def _fail(self, generation: int, key: checkpoint.SaveKey, writer: int, reason: tuple[str, str]) -> None:
        code, message = reason
        failed = agent.SaveFailed(key=key, writer=writer, code=code, message=message)
        self._emit(agent.SessionRequest(generation=generation, save_failed=failed))

    def _free(self, key: tuple[int, int]) -> None:
        step = self._steps.pop(key, None)
        for staged in step.files.values() if step is not None else ():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged.path)


MEMORY_FOLDER = Path("/dev/shm")
# Handed to ranks in their environment (rank/engine_stage.py, which this process must not import: torch).
STAGED_PREFIX = "SHARDWRIGHT_STAGED_PREFIX"


def staged_prefix(job_uid: str, member: str) -> str:
    """How the staged files of a member begin; also the control plane looks for `shardwright-<uid>-`."""
    return f"shardwright-{job_uid}-{member}"


def sweep_staged(prefix: str, work_directory: str) -> None:
    """Removes what an earlier incarnation of this member had staged: its save is decided without it."""
    for folder in (MEMORY_FOLDER, Path(work_directory)):
        for path in folder.glob(f"{prefix}-*.staged"):
            path.unlink(missing_ok=True)
