"""CRC-32C (Castagnoli) of CRC blocks: the checksum that every range read is verified with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
CRC_BLOCK_MIN = 4096
CRC_BLOCK_MAX = 16 * 1024 * 1024


def as_bytes(buffer: Any) -> Bytes:
    """Any contiguous buffer as an array of bytes, without a copy."""
    return np.frombuffer(buffer, dtype=np.uint8)


def crc32c(buffer: Bytes) -> int:
    """CRC-32C of these bytes. An array is taken because the C extension refuses writable memory views."""
    return int(google_crc32c.value(buffer))


def is_crc_block(size: int) -> bool:
    """A power of two between 4 KiB and 16 MiB."""
    return CRC_BLOCK_MIN <= size <= CRC_BLOCK_MAX and size & (size - 1) == 0


def crc_list(buffer: Bytes, crc_block_bytes: int) -> Iterator[int]:
    """CRC-32C of each block of the buffer, in order, the last one short."""
    for begin in range(0, len(buffer), crc_block_bytes):
        yield crc32c(buffer[begin : begin + crc_block_bytes])
