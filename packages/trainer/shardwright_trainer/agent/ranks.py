"""The agent's end of the Unix socket to its ranks: who may connect, frames in and out."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError

from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link
from shardwright_trainer.rank.link import FRAME_BYTES_MAX, HEADER

# A process that connects must say who it is soon; only ranks know the folder.
HELLO_SECONDS = 10.0

FOLDER_PREFIX = "shardwright-ranks-"
OWNER = "owner"
# Between making its folder and locking it an agent needs microseconds; a machine may stand still in between.
UNLOCKED_SECONDS_MAX = 60.0

OnMessage = Callable[[int, link.RankMessage], None]


class RankServer:
    """Listens in a folder of mode 0700 and takes connections of this user only.

    on_message(local_rank, message) hears everything of accepted ranks, their RankHello first.
    """

    def __init__(self, accepts: Callable[[int, int], bool], on_message: OnMessage) -> None:
        """accepts(local_rank, pid): whether that process is the one which was started for the rank."""
        self._accepts = accepts
        self._on_message = on_message
        self._writers: dict[int, asyncio.StreamWriter] = {}
        sweep_folders(Path(tempfile.gettempdir()))
        # Socket paths are limited to 107 bytes: never inside a user's folder.
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        # The kernel takes the lock back however this process ends: who can lock it knows that we are gone.
        self._owner = os.open(self._folder / OWNER, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        self.path = str(self._folder / "ranks")
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    def send(self, local_rank: int, directive: link.RankDirective) -> None:
        """Sends to a connected rank; a rank that is gone hears nothing, its exit is handled elsewhere."""
        writer = self._writers.get(local_rank)
        if writer is not None and not writer.is_closing():
            payload = directive.SerializeToString()
            writer.write(HEADER.pack(len(payload)) + payload)

    async def close(self) -> None:
        """Stops listening and drops every connection."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers.values():
            writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._owner)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        local_rank: int | None = None
        try:
            pid, uid = _peer(writer)
            if uid != os.getuid():
                return
            first = await asyncio.wait_for(_read_message(reader), HELLO_SECONDS)
            if first.WhichOneof("body") != "hello" or not self._accepts(first.hello.local_rank, pid):
                return
            local_rank = first.hello.local_rank
            self._writers[local_rank] = writer
            self._on_message(local_rank, first)
            while True:
                self._on_message(local_rank, await _read_message(reader))
        except (asyncio.IncompleteReadError, TimeoutError, OSError, ValueError, DecodeError):
            pass  # the end of a rank is told by its process, not by its socket
        finally:
            if local_rank is not None and self._writers.get(local_rank) is writer:
                del self._writers[local_rank]
            writer.close()


def sweep_folders(parent: Path) -> None:
    """Removes the socket folders of agents that were killed: this user's, whose owner is gone."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):  # another agent sweeps too, or it is not ours
            if not folder.is_symlink() and folder.stat().st_uid == os.getuid() and _is_orphaned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_orphaned(folder: Path) -> bool:
    try:
        owner = os.open(folder / OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > UNLOCKED_SECONDS_MAX
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(owner)
    return True


async def _read_message(reader: asyncio.StreamReader) -> link.RankMessage:
    (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
    if length > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {length} bytes")
    message = link.RankMessage()
    message.ParseFromString(await reader.readexactly(length))
    return message


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """(pid, uid) of the process at the other end, as the kernel knows them."""
    connection: socket.socket = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    return pid, uid
