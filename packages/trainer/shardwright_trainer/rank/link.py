"""The rank's end of the Unix socket to its agent: frames of u32 length (little-endian) and one message."""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
from collections.abc import Callable

from google.protobuf.message import DecodeError

from shardwright_trainer._proto.shardwright.v1 import rank_link_pb2 as link

HEADER = struct.Struct("<I")
# The largest message is a PrepareGeneration or a FlatLayout of some thousand entries.
FRAME_BYTES_MAX = 64 << 20


class LinkClosed(Exception):  # noqa: N818 - the normal way an orphaned rank learns of it
    """The agent is gone; the rank has nobody to work for."""


class RankLink:
    """Sends RankMessage, receives RankDirective. Sending is thread-safe; a thread of its own receives."""

    def __init__(self, path: str, on_closed: Callable[[], None]) -> None:
        """Connects. on_closed is called once, from the receiving thread, when the agent is gone."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._sending = threading.Lock()
        self._on_closed = on_closed
        self._received: queue.Queue[link.RankDirective | None] = queue.Queue()
        self._ahead: link.RankDirective | None = None
        threading.Thread(target=self._receive, name="link", daemon=True).start()

    def send(self, message: link.RankMessage) -> None:
        """Raises LinkClosed when the agent is gone."""
        payload = message.SerializeToString()
        try:
            with self._sending:
                self._socket.sendall(HEADER.pack(len(payload)) + payload)
        except OSError as error:
            raise LinkClosed(str(error)) from error

    def peek(self) -> link.RankDirective | None:
        """The next directive without taking it, None when there is none yet. For one thread only."""
        if self._ahead is None:
            try:
                self._ahead = self._received.get_nowait()
            except queue.Empty:
                return None
            if self._ahead is None:
                raise LinkClosed("the agent closed the socket")
        return self._ahead

    def wait(self) -> link.RankDirective:
        """The next directive, however long it takes. Raises LinkClosed when the agent is gone."""
        self.look()
        taken, self._ahead = self._ahead, None
        assert taken is not None
        return taken

    def look(self) -> link.RankDirective:
        """The next directive without taking it, however long it takes."""
        if self._ahead is None:
            self._ahead = self._received.get()
            if self._ahead is None:
                raise LinkClosed("the agent closed the socket")
        return self._ahead

    def close(self) -> None:
        """Ends both directions."""
        self._socket.close()

    def _receive(self) -> None:
        try:
            while frame := self._read_frame():
                self._received.put(link.RankDirective.FromString(frame))
        except (OSError, DecodeError, ValueError):
            pass
        self._received.put(None)
        self._on_closed()

    def _read_frame(self) -> bytes:
        header = self._read(HEADER.size)
        if len(header) < HEADER.size:
            return b""
        (length,) = HEADER.unpack(header)
        if length > FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {length} bytes")
        return self._read(length)

    def _read(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._socket.recv(min(count - len(parts), 1 << 20))
            if not part:
                return b""
            parts += part
        return bytes(parts)


def leave_at_once() -> None:
    """Ends this process without clean-up: its agent is gone, and a collective may hold the main thread."""
    os._exit(70)
