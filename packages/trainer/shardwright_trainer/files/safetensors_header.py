"""The header of a safetensors file: built with padding, parsed with every limit checked before allocating."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HEADER_BYTES_MAX = 100_000_000
"""What official readers accept; a larger N is refused before anything of that size is allocated."""

DTYPE_BYTES: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEntry:
    """One tensor: `begin` and `end` count bytes from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    data_begin: int
    """8 + N: where the buffer starts in the file."""
    entries: tuple[HeaderEntry, ...]
    """In file order."""
    metadata: Mapping[str, str]


def build_header(
    entries: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str], align: int
) -> tuple[bytes, list[HeaderEntry]]:
    """Length and header of (name, dtype, shape) laid end to end; data starts at a multiple of align."""
    table: dict[str, Any] = {"__metadata__": dict(metadata)}
    laid: list[tuple[str, str, tuple[int, ...], int, int]] = []
    offset = 0
    for name, dtype, shape in entries:
        end = offset + DTYPE_BYTES[dtype] * elements_of(shape)
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        laid.append((name, dtype, shape, offset, end))
        offset = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    data_begin = -(-(8 + len(text)) // align) * align
    header = (data_begin - 8).to_bytes(8, "little") + text.ljust(data_begin - 8, b" ")
    return header, [
        HeaderEntry(name=n, dtype=d, shape=s, begin=data_begin + b, end=data_begin + e)
        for n, d, s, b, e in laid
    ]


def header_length(first8: bytes, file_bytes: int) -> int:
    """N of a file of this size; ValueError when it cannot be true."""
    if len(first8) != 8:
        raise ValueError(f"{len(first8)} bytes are too few for a length")
    length = int.from_bytes(first8, "little")
    if not 2 <= length <= min(HEADER_BYTES_MAX, file_bytes - 8):
        raise ValueError(f"header length {length} in a file of {file_bytes} bytes (limit {HEADER_BYTES_MAX})")
    return length


def parse_header(text: bytes, file_bytes: int) -> Header:
    """The header whose N bytes are `text`. ValueError unless the buffer is covered exactly once."""
    if not text.startswith(b"{"):
        raise ValueError("does not start with '{'")
    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(table, dict):
        raise ValueError("not a JSON object")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ is not a map of strings")
    data_begin = 8 + len(text)
    entries = sorted(
        (_entry(name, value, data_begin) for name, value in table.items()),
        key=lambda entry: (entry.begin, entry.end),
    )
    _check_covered(entries, data_begin, file_bytes)
    return Header(data_begin=data_begin, entries=tuple(entries), metadata=metadata)


def elements_of(shape: tuple[int, ...]) -> int:
    """Product of the dimensions; 1 for a 0-dim tensor."""
    count = 1
    for size in shape:
        count *= size
    return count


def _entry(name: str, value: Any, data_begin: int) -> HeaderEntry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f'"{name}" must have exactly dtype, shape and data_offsets')
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise ValueError(f'"{name}" has unknown dtype {dtype!r}')
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise ValueError(f'"{name}" has sizes or offsets that are not natural numbers')
    begin, end = offsets
    expected = DTYPE_BYTES[dtype] * elements_of(tuple(shape))
    if end - begin != expected:
        raise ValueError(f'"{name}" is {end - begin} bytes, its shape needs {expected}')
    return HeaderEntry(
        name=name, dtype=dtype, shape=tuple(shape), begin=data_begin + begin, end=data_begin + end
    )


def _check_covered(entries: list[HeaderEntry], data_begin: int, file_bytes: int) -> None:
    at = data_begin
    for entry in entries:
        if entry.begin != at:
            what = "hole before" if entry.begin > at else "overlap at"
            raise ValueError(f'{what} "{entry.name}" (byte {entry.begin}, expected {at})')
        at = entry.end
    if at != file_bytes:
        raise ValueError(f"the tensors end at byte {at}, the file at {file_bytes}")


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**53 for item in value)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("a key stands twice")
    return keys
