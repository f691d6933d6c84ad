"""Files of a run, read whole or in part; nothing outside of the run's directory is ever opened."""

from __future__ import annotations

import os
import re

from shardwright_trainer.files.swc_errors import CheckpointError

SAFE_PATH = re.compile(r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")


def inside(run: str, path: str) -> str:
    """The path on disk; refuses anything that leaves the run's directory, by name or by symlink."""
    if not SAFE_PATH.match(path) or any(part in (".", "..") for part in path.split("/")):
        raise CheckpointError("SWC_BAD_RECORD", f'"{path}" is not a path inside a run')
    full = os.path.join(run, path)
    root = os.path.realpath(run)
    if os.path.commonpath([root, os.path.realpath(full)]) != root:
        raise CheckpointError("SWC_BAD_RECORD", f"{path}: leads out of the run through a link")
    return full


def size_of(run: str, path: str) -> int:
    """Bytes of a file; SWC_MISSING_FILE when there is none."""
    try:
        return os.stat(inside(run, path)).st_size
    except FileNotFoundError as error:
        raise CheckpointError("SWC_MISSING_FILE", f"{path}: missing") from error


def read_whole(run: str, path: str, bytes_max: int) -> bytes:
    """A whole file; larger than its limit is refused before it is read."""
    size = size_of(run, path)
    if size > bytes_max:
        raise CheckpointError("SWC_SIZE_MISMATCH", f"{path}: {size} bytes, at most {bytes_max} are allowed")
    return read_range(run, path, 0, size)


def read_range(run: str, path: str, begin: int, end: int) -> bytes:
    """Bytes [begin, end), all of them."""
    try:
        with open(inside(run, path), "rb") as file:
            file.seek(begin)
            data = file.read(end - begin)
    except FileNotFoundError as error:
        raise CheckpointError("SWC_MISSING_FILE", f"{path}: missing") from error
    if len(data) != end - begin:
        raise CheckpointError(
            "SWC_SIZE_MISMATCH", f"{path}: ends at byte {begin + len(data)}, {end} expected"
        )
    return data
