"""Rank processes: start, watch, say why one ended, start it again at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link

# What a rank prints before it dies is its only testimony.
TAIL_LINES = 20
LOG_LINE_BYTES_MAX = 16 << 10
# A rank that dies again and again while it loads is started more slowly; the job's budgets end it.
RESPAWN_DELAYS_SECONDS = (0.0, 0.0, 1.0, 2.0, 5.0, 10.0)
STOP_SECONDS = 5.0
LAST_WORDS_SECONDS = 0.05

_CAUSES = {"nonfinite": "user_error", "internal": "unknown"}
_CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A rank process ended. status: exit status, or minus the signal's number."""

    local_rank: int
    pid: int
    status: int
    cause: str
    sentence: str
    respawning: bool


def environment(inherited: Mapping[str, str], threads: int) -> dict[str, str]:
    """What a rank sees. Threads are part of the recipe: another number gives other bits."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("TORCH_NCCL_")}
    fixed = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {
        **kept,
        **fixed,
        "GLOO_SOCKET_IFNAME": "lo",
        # glibc raises its threshold as blocks are freed and then keeps them: up to twice the memory in use.
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def classify_exit(
    status: int, fault: link.RankFault | None, tail: list[str], oom_killed: bool
) -> tuple[str, str]:
    """(cause, sentence) of an ended rank: what it said itself, else what the operating system says."""
    if fault is not None:
        return _CAUSES.get(fault.cause, fault.cause), fault.sentence
    if status == -signal.SIGKILL:
        if oom_killed:
            return "oom", "The kernel killed the rank because memory ran out."
        return "killed", "The rank was killed (signal 9)."
    if any("MemoryError" in line for line in tail):
        return "oom", "The rank ran out of memory."
    said = f" Its last line was: {tail[-1]}" if tail else ""
    if status < 0:
        return "unknown", f"The rank was ended by {_signal_name(-status)}.{said}"
    return "unknown", f"The rank ended with status {status}.{said}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Supervisor:
    """Keeps `count` rank processes alive until `stop`."""

    def __init__(
        self,
        command: Callable[[int], list[str]],
        env: Mapping[str, str],
        on_exit: Callable[[Exit], None],
        on_line: Callable[[int, str], None],
    ) -> None:
        """command(local_rank) starts a rank; on_line(local_rank, text) hears what it prints."""
        self._command = command
        self._env = dict(env)
        self._on_exit = on_exit
        self._on_line = on_line
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._faults: dict[int, link.RankFault] = {}
        self._deaths: dict[int, int] = {}
        self._loaded: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def start(self, count: int) -> None:
        """Starts all ranks."""
        for local_rank in range(count):
            self._keep(self._watch(local_rank))

    def is_child(self, local_rank: int, pid: int) -> bool:
        """Whether `pid` is the running process of this rank."""
        process = self._processes.get(local_rank)
        return process is not None and process.pid == pid

    def note_fault(self, local_rank: int, fault: link.RankFault) -> None:
        """Why the rank is going to end: it said so, or it is ended for it."""
        self._faults[local_rank] = fault

    def note_loaded(self, local_rank: int) -> None:
        """The rank got as far as its model: the next death is a new story."""
        self._deaths[local_rank] = 0
        self._loaded.add(local_rank)

    def end_hung(self, local_rank: int) -> None:
        """Ends a rank that was judged to hang; its exit says so."""
        sentence = "The rank was not heard any more and was ended."
        self.note_fault(local_rank, link.RankFault(cause="hang", sentence=sentence))
        self.kill(local_rank)

    def kill(self, local_rank: int) -> None:
        """Ends one rank at once; it is started again."""
        process = self._processes.get(local_rank)
        if process is not None and process.returncode is None:
            process.kill()

    async def stop(self) -> None:
        """Lets every rank end, then ends those that do not."""
        self._stopping = True
        for local_rank in set(self._processes) - self._loaded:
            self.kill(local_rank)  # it holds nothing, and may not have heard of the stop
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
            for local_rank in list(self._processes):
                self.kill(local_rank)
            if late:
                await asyncio.wait(late, timeout=STOP_SECONDS)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, local_rank: int) -> None:
        while not self._stopping:
            deaths = self._deaths.get(local_rank, 0)
            await asyncio.sleep(RESPAWN_DELAYS_SECONDS[min(deaths, len(RESPAWN_DELAYS_SECONDS) - 1)])
            if self._stopping:
                return
            killed_before = _oom_kills()
            self._faults.pop(local_rank, None)
            process = await asyncio.create_subprocess_exec(
                *self._command(local_rank),
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=LOG_LINE_BYTES_MAX,
            )
            self._processes[local_rank] = process
            self._loaded.discard(local_rank)
            tail: deque[str] = deque(maxlen=TAIL_LINES)
            reading = asyncio.ensure_future(self._read_lines(local_rank, process, tail))
            status = await process.wait()
            # What it printed and said last may still be on its way.
            await asyncio.sleep(LAST_WORDS_SECONDS if status > 0 else 0)
            reading.cancel()
            del self._processes[local_rank]
            if self._stopping:
                return
            self._deaths[local_rank] = deaths + 1
            fault = self._faults.get(local_rank)
            cause, sentence = classify_exit(status, fault, list(tail), _oom_kills() > killed_before)
            again = cause != "user_error"
            self._on_exit(
                Exit(
                    local_rank=local_rank,
                    pid=process.pid,
                    status=status,
                    cause=cause,
                    sentence=sentence,
                    respawning=again,
                )
            )
            if not again:
                return

    async def _read_lines(
        self, local_rank: int, process: asyncio.subprocess.Process, tail: deque[str]
    ) -> None:
        assert process.stdout is not None
        while True:
            try:
                raw = await process.stdout.readline()
            except ValueError:  # a line longer than the limit: its beginning was dropped
                continue
            if not raw:
                return
            text = raw.decode("utf-8", "replace").rstrip()
            if text:
                tail.append(text)
                self._on_line(local_rank, text)


def _oom_kills() -> int:
    """How often the kernel killed for memory in this control group; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in _CGROUP_EVENTS.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def rank_command(socket_path: str, engine: str | None) -> Callable[[int], list[str]]:
    """The command line of a rank. engine: another one than the real, for tests."""

    def command(local_rank: int) -> list[str]:
        module = [sys.executable, "-m", "shardwright_trainer.rank.main"]
        place = ["--socket", socket_path, "--local-rank", str(local_rank)]
        return [*module, *place, *([] if engine is None else ["--engine", engine])]

    return command


def own_environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ
