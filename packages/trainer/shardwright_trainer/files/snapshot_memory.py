"""The memory of a snapshot: an anonymous file that lives while any process has it open, and has a name to
tell it by."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def memory_name(generation: int, step: int, rank: int) -> str:
    """What /proc shows of it, so that a reused descriptor is not taken for it."""
    return f"shardwright-snapshot-{generation}-{step}-{rank}"


@contextlib.contextmanager
def new_memory(name: str) -> Iterator[int]:
    """Descriptor of a new anonymous file; closed again when the block raises, left to the caller
    otherwise."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        yield descriptor
    except BaseException:
        os.close(descriptor)
        raise
