"""The agent of one member: `python -m shardwright_trainer.agent.main`, one process per pod.

Starts and watches the ranks, keeps a session with the control plane, writes staged saves. Exit status: 0
after a Stop or a leave, 3 when the control plane refuses this member for good, 4 when it was asked to leave
and the grace passed before its blocks were handed over.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import os
import signal
import sys
from pathlib import Path
from typing import Any

from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.agent.member import Member
from shardwright_trainer.agent.persist import STAGED_PREFIX, staged_prefix, sweep_staged
from shardwright_trainer.agent.ranks import RankServer
from shardwright_trainer.agent.session import Endpoint, Refused, beat_forever, run_session
from shardwright_trainer.agent.statements import Identity
from shardwright_trainer.agent.supervise import Supervisor, environment, own_environment, rank_command

EXIT_REFUSED = 3
EXIT_GRACE_PASSED = 4
TOKEN_BYTES_MAX = 4096
# From SIGTERM to the end. Kubernetes kills after 30 s (terminationGracePeriodSeconds), and ending takes time.
LEAVE_GRACE_SECONDS = 25.0


class RankProcesses:
    """The ranks of this member: their processes and their socket, as one thing."""

    def __init__(self, engine: str | None) -> None:
        self._engine = engine
        self._member: Member | None = None
        self._supervisor: Supervisor | None = None
        self._server = RankServer(self._accepts, self._hear)

    async def open(self, member: Member) -> None:
        """Begins to listen for ranks of `member`."""
        self._member = member
        await self._server.start()

    def start(self, count: int, threads: int) -> None:
        """Starts `count` rank processes, each with as many threads as the recipe says."""
        assert self._member is not None
        self._supervisor = Supervisor(
            rank_command(self._server.path, self._engine),
            environment(own_environment(), max(1, threads)),
            self._member.hearing.on_exit,
            self._print,
        )
        self._supervisor.start(count)

    def send(self, local_rank: int, directive: link.RankDirective) -> None:
        """See RankServer.send."""
        self._server.send(local_rank, directive)

    def end_hung(self, local_rank: int) -> None:
        """See Supervisor.end_hung."""
        if self._supervisor is not None:
            self._supervisor.end_hung(local_rank)

    def note_fault(self, local_rank: int, fault: link.RankFault) -> None:
        """See Supervisor.note_fault."""
        if self._supervisor is not None:
            self._supervisor.note_fault(local_rank, fault)

    def note_loaded(self, local_rank: int) -> None:
        """See Supervisor.note_loaded."""
        if self._supervisor is not None:
            self._supervisor.note_loaded(local_rank)

    async def close(self) -> None:
        """Ends every rank, then the socket."""
        if self._supervisor is not None:
            await self._supervisor.stop()
        await self._server.close()

    def _accepts(self, local_rank: int, pid: int) -> bool:
        return self._supervisor is not None and self._supervisor.is_child(local_rank, pid)

    def _hear(self, local_rank: int, message: link.RankMessage) -> None:
        assert self._member is not None
        self._member.hearing.on_rank(local_rank, message)

    def _print(self, local_rank: int, text: str) -> None:
        assert self._member is not None
        sys.stderr.write(f"[rank {local_rank}] {text}\n")
        sys.stderr.flush()
        self._member.hearing.note_line(local_rank, "info", text)


def read_token(descriptor: int) -> str:
    """The member's token from an inherited descriptor, which is closed. Raises ValueError without one."""
    with os.fdopen(descriptor, "rb") as file:
        token = file.read(TOKEN_BYTES_MAX).decode("ascii").strip()
    if not token:
        raise ValueError(f"descriptor {descriptor} holds no token")
    return token


async def serve(endpoint: Endpoint, identity: Identity, engine: str | None, leave_grace: float) -> int:
    """The life of the agent; returns its exit status."""
    # 1. A member with its ranks' door open.
    ranks = RankProcesses(engine)
    member = Member(identity, ranks)
    await ranks.open(member)
    # 2. Session and beats run until somebody says stop.
    session = asyncio.ensure_future(
        run_session(endpoint, member.outbox, member.on_directive, identity.member)
    )
    beats = asyncio.ensure_future(beat_forever(member.hearing.beat))
    _leave_on_signal(member, leave_grace)
    status = 0
    try:
        ends: set[asyncio.Future[Any]] = {session, member.stopped}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if session.done() and isinstance(session.exception(), Refused):
            sys.stderr.write(f"The control plane refuses this member: {session.exception()}\n")
            member.stop("refused")
            # One that gave notice was released, and missed to hear of it.
            status = 0 if member.is_leaving else EXIT_REFUSED
        elif session.done():
            session.result()
        elif member.stopped.result() == GRACE_PASSED:
            sys.stderr.write(
                f"Nobody took over within {leave_grace:g} s; what only this member held is lost.\n"
            )
            status = EXIT_GRACE_PASSED
    # 3. Ranks first, then what they stood on.
    finally:
        await ranks.close()
        member.close()
        for task in (session, beats):
            task.cancel()
        await asyncio.gather(session, beats, return_exceptions=True)
    return status


GRACE_PASSED = "the grace passed"


def _leave_on_signal(member: Member, grace: float) -> None:
    """SIGTERM and SIGINT: give notice and train on until the control plane says Stop, but not for ever."""
    loop = asyncio.get_running_loop()

    def leave(name: str) -> None:
        if member.is_leaving:
            return  # asking again changes nothing
        if member.leave(name):
            loop.call_later(grace, member.stop, GRACE_PASSED)
        else:
            member.stop(name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave, number.name)


def main() -> int:
    """Entry of the process; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control-plane", required=True, metavar="HOST:PORT")
    parser.add_argument("--ca-file", help="PEM of the control plane's certificate; without it no TLS")
    parser.add_argument("--job-uid", required=True)
    parser.add_argument("--member", required=True)
    parser.add_argument("--incarnation", type=int, required=True)
    parser.add_argument("--token-fd", type=int, required=True)
    parser.add_argument("--work-directory", required=True)
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument(
        "--leave-grace-seconds",
        type=float,
        default=LEAVE_GRACE_SECONDS,
        help="from SIGTERM to the end, even if nobody took over its blocks (default: %(default)g)",
    )
    parser.add_argument("--rank-engine", help=argparse.SUPPRESS)  # tests give one without torch
    arguments = parser.parse_args()
    Path(arguments.work_directory).mkdir(parents=True, exist_ok=True)
    prefix = staged_prefix(arguments.job_uid, arguments.member)
    sweep_staged(prefix, arguments.work_directory)
    os.environ[STAGED_PREFIX] = prefix
    identity = Identity(
        job_uid=arguments.job_uid,
        member=arguments.member,
        incarnation=arguments.incarnation,
        slot=arguments.slot,
        trainer_version=_version("shardwright-trainer"),
        torch_version=_version("torch"),
    )
    endpoint = Endpoint(
        address=arguments.control_plane, token=read_token(arguments.token_fd), ca_file=arguments.ca_file
    )
    return asyncio.run(serve(endpoint, identity, arguments.rank_engine, arguments.leave_grace_seconds))


def _version(package: str) -> str:
    """Version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
