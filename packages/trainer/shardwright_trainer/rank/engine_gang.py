"""The ranks of one generation as one rank reaches them. Every failure of a collective is PeerLost, raised
once."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, TCPStore

from shardwright_trainer.plan.config import GenerationPlan
from shardwright_trainer.rank.errors import PeerLost

Leg = tuple[int, Tensor]
"""(peer, contiguous tensor to send or to fill)."""

PRESENT_POLL_SECONDS = 0.02


def go_on() -> None:
    """Nobody asks a rank to give up while it connects."""


class Gang:
    """A process group of one generation. After any failure it is closed, which makes its peers' collectives
    fail too."""

    def __init__(
        self,
        plan: GenerationPlan,
        device_type: str,
        check: Callable[[], None] = go_on,
        with_leavers: bool = True,
    ) -> None:
        """Connects through the outside store; PeerLost when not everybody comes before the timeout.

        check: called while others are waited for; what it raises ends the wait.
        with_leavers: for the transfer; without them is the group that trains.
        """
        self.rank = plan.rank
        self.world_size = plan.world_size + (plan.leavers if with_leavers else 0)
        self.sent_bytes = 0
        self.received_bytes = 0
        self._open = False
        if self.world_size == 1:
            return
        timeout = timedelta(seconds=plan.collective_timeout_seconds)
        with self._watched("connect"):
            client = TCPStore(plan.store_host, plan.store_port, is_master=False, timeout=timeout)
            store = PrefixStore(plan.store_prefix + ("" if with_leavers else "/stay"), client)
            self._await_everybody(store, plan, check)
            dist.init_process_group(
                "nccl" if device_type == "cuda" else "gloo",
                store=store,
                rank=plan.rank,
                world_size=self.world_size,
                timeout=timeout,
            )
            self._open = True
            dist.barrier()

    def exchange(self, sends: Sequence[Leg], receives: Sequence[Leg]) -> None:
        """Sends and fills all legs at once, without a copy on either side.

        Legs between two ranks pair up in the order given. Empty tensors must be left out on both sides.
        """
        if not sends and not receives:
            return
        with self._watched("exchange"):
            _move(sends, receives)
        self.sent_bytes += sum(tensor.nbytes for _, tensor in sends)
        self.received_bytes += sum(tensor.nbytes for _, tensor in receives)

    def gather(self, mine: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Everybody's small vector, by rank; sizes[r] elements from rank r, of the dtype of `mine`."""
        parts = [mine if rank == self.rank else mine.new_empty(size) for rank, size in enumerate(sizes)]
        others = [rank for rank in range(self.world_size) if rank != self.rank]
        self.exchange(
            [(rank, mine) for rank in others if mine.numel()],
            [(rank, parts[rank]) for rank in others if sizes[rank]],
        )
        return parts

    def barrier(self) -> None:
        """Returns once every rank has called it."""
        if self.world_size > 1:
            with self._watched("barrier"):
                dist.barrier()

    def close(self) -> None:
        """Drops the connections; peers that still wait for this rank fail at once."""
        if self._open:
            self._open = False
            with contextlib.suppress(RuntimeError, ValueError):
                dist.destroy_process_group()

    def _await_everybody(self, store: PrefixStore, plan: GenerationPlan, check: Callable[[], None]) -> None:
        """Torch waits for a peer that will never come and hears nothing else; this wait can be given up.
        What follows it, the mesh itself, takes milliseconds."""
        until = time.monotonic() + plan.collective_timeout_seconds
        store.set(f"here/{plan.rank}", "")
        missing = [f"here/{rank}" for rank in range(self.world_size)]
        while not store.check(missing):
            check()
            if time.monotonic() > until:
                absent = [key.removeprefix("here/") for key in missing if not store.check([key])]
                raise PeerLost(f"ranks {', '.join(absent)} did not come to generation {plan.generation}")
            time.sleep(PRESENT_POLL_SECONDS)

    @contextlib.contextmanager
    def _watched(self, what: str) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError) as error:  # torch raises all of gloo's failures as RuntimeError
            # The legs that did not fail lie in the frames of the traceback, and each keeps every connection
            # open: peers that wait for this rank would wait for their timeout.
            traceback.clear_frames(error.__traceback__)
            self.close()
            first_line = str(error).strip().partition("\n")[0]
            raise PeerLost(f"{what} failed on rank {self.rank} of {self.world_size}: {first_line}") from error


def _move(sends: Sequence[Leg], receives: Sequence[Leg]) -> None:
    """A frame of its own: when a leg fails, `_watched` can drop the others with it."""
    legs = [dist.P2POp(dist.irecv, tensor, peer) for peer, tensor in receives]
    legs += [dist.P2POp(dist.isend, tensor, peer) for peer, tensor in sends]
    for work in dist.batch_isend_irecv(legs):
        work.wait()


def on_device(device_type: str) -> torch.device:
    """The device of this rank: the only visible one of its type."""
    return torch.device(device_type, 0) if device_type == "cuda" else torch.device(device_type)


Progress = Callable[[str, float], None]
