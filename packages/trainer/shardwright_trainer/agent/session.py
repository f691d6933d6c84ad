"""The stream to the control plane: connect, say Hello, pump both ways; again and again, whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer._proto.shardwright.v1.agent_service_pb2_grpc import AgentServiceStub
from shardwright_trainer.agent.outbox import Outbox

BACKOFF_SECONDS_MIN = 0.5
BACKOFF_SECONDS_MAX = 10.0
_DOUBLINGS_MAX = 16  # far beyond the upper bound; keeps the power finite
BEAT_SECONDS = 1.0
# A block map of the largest plans, run-length coded, has a few MB.
MESSAGE_BYTES_MAX = 64 << 20
# The control plane may refuse while it restarts; one that goes on refusing does not know this member.
REFUSALS_MAX = 5
_REFUSALS = frozenset(
    (
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.ABORTED,
    )
)
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # Connecting again is this module's business; the channel's own backoff would only add to it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)


class Refused(Exception):  # noqa: N818 - the end of this member, not a mistake of it
    """The control plane does not want this member: an older incarnation, or a job that is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the control plane is and what opens its door. ca_file: PEM of its certificate; None: no TLS."""

    address: str
    token: str
    ca_file: str | None = None


def reconnect_seconds(member: str, failures: int) -> float:
    """How long to wait after `failures` tries in a row in which nothing was heard.

    Twice as long each time, within the bounds; less up to half, by the member's name and the try: a control
    plane that comes back must not hear ten thousand members in the same instant.
    """
    longest = min(2 * BACKOFF_SECONDS_MIN * 2.0 ** min(failures, _DOUBLINGS_MAX), BACKOFF_SECONDS_MAX)
    drawn = zlib.crc32(f"{member}/{failures}".encode()) / 2**32
    return longest * (1 - drawn / 2)


async def run_session(
    endpoint: Endpoint, outbox: Outbox, on_directive: Callable[[agent.SessionResponse], None], member: str
) -> None:
    """Keeps a session open until cancelled. Raises Refused when the control plane keeps refusing."""
    failures, refusals = 0, 0
    while True:
        heard = False

        def hear(response: agent.SessionResponse) -> None:
            nonlocal heard
            heard = True
            on_directive(response)

        try:
            await _one_session(endpoint, outbox, hear)
            refusals = 0
        except grpc.aio.AioRpcError as error:
            refused = error.code() in _REFUSALS and not heard
            refusals = refusals + 1 if refused else 0
            if refusals >= REFUSALS_MAX:
                raise Refused(f"{error.code().name}: {error.details()}") from error
        finally:
            outbox.close()
        failures = 0 if heard else failures + 1
        await asyncio.sleep(reconnect_seconds(member, failures))


async def _one_session(
    endpoint: Endpoint, outbox: Outbox, hear: Callable[[agent.SessionResponse], None]
) -> None:
    """From connect to the end of the stream."""
    async with _channel(endpoint) as channel:
        metadata = (("authorization", f"Bearer {endpoint.token}"),)
        stub: Any = AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Session(metadata=metadata)
        sending = asyncio.ensure_future(_send(call, outbox))
        try:
            async for response in call:
                hear(response)
        finally:
            sending.cancel()
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await sending


async def _send(call: grpc.aio.StreamStreamCall, outbox: Outbox) -> None:
    queue = outbox.open()
    while (request := await queue.get()) is not None:
        await call.write(request)
    call.cancel()


def _channel(endpoint: Endpoint) -> grpc.aio.Channel:
    if endpoint.ca_file is None:
        return grpc.aio.insecure_channel(endpoint.address, options=_OPTIONS)
    with open(endpoint.ca_file, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    return grpc.aio.secure_channel(endpoint.address, credentials, options=_OPTIONS)


async def beat_forever(beat: Callable[[], None]) -> None:
    """Calls `beat` every second until cancelled."""
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        beat()
