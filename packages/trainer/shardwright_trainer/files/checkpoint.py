"""Saving, in two halves: a rank stages its owned blocks, the agent turns the staged file into packs of SWC/1.

Staging is one copy into a memory file system at a step boundary; nothing after it reads live state. Writing
packs happens in the background and survives the death of the rank. Neither half knows torch, gRPC or the
world size.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardwright_trainer.files.canonical_json import sha256_name
from shardwright_trainer.files.crc import as_bytes, crc32c, is_crc_block
from shardwright_trainer.files.local_path import local_path
from shardwright_trainer.files.packs import PackWriter, plan_packs
from shardwright_trainer.files.safetensors_header import DTYPE_BYTES
from shardwright_trainer.files.schema import Schema, parse_schema
from shardwright_trainer.files.staged import Place, StagedIndex, StagedKind, runs_of
from shardwright_trainer.files.swc_errors import SaveError
from shardwright_trainer.files.writer_manifest import block_digests, manifest_bytes

PACK_BYTES_MAX = 64 * 1024**3
WRITEV_BUFFERS_MAX = 512
"""Half of Linux's IOV_MAX."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedManifest:
    """What the agent reports when a writer is done."""

    manifest_path: str
    """Relative to the save's directory."""
    manifest_sha256: str
    bytes: int
    """Bytes of the packs this writer wrote."""


def stage_blocks(
    path: str,
    kinds: Mapping[str, Mapping[int, Any]],
    *,
    elements: int,
    block_elements: int,
    dtypes: Mapping[str, str] | None = None,
) -> tuple[str, int]:
    """Copies blocks into one new raw file and returns (index JSON, bytes written).

    `kinds`: kind → block number → contiguous buffer (array or memory view) of at least the block's elements;
    what lies beyond the end of the flat space of `elements` is padding and is cut. Every kind holds the same
    blocks. `dtypes` names the safetensors dtype of a kind, F32 where it says nothing. The only checksum made
    here is a CRC-32C per block, from the live memory. SaveError (ENOSPC when shared memory is full) leaves no
    file behind.
    """
    index, buffers = _plan_staged(kinds, elements, block_elements, dtypes or {})
    _write_staged(path, buffers)
    return index.to_json(), index.bytes


def stage_into(
    descriptor: int, kinds: Mapping[str, Mapping[int, Any]], *, elements: int, block_elements: int
) -> tuple[str, int]:
    """The same into an open, empty file of memory, fp32 only. OSError when memory is full."""
    index, buffers = _plan_staged(kinds, elements, block_elements, {})
    for first in range(0, len(buffers), WRITEV_BUFFERS_MAX):
        _write_all(descriptor, list(buffers[first : first + WRITEV_BUFFERS_MAX]))
    return index.to_json(), index.bytes


def read_staged(path: str, index_json: str, blocks: Collection[int]) -> dict[str, dict[int, Any]]:
    """kind → block → fp32 array of its own memory, each verified by its CRC-32C.

    SaveError when the file is not what its index says; blocks must be in the index.
    """
    index = StagedIndex.from_json(index_json)
    found: dict[str, dict[int, Any]] = {}
    with _mapped(path, index) as staged:
        for kind in index.kinds:
            found[kind.kind] = {}
            for place, check in zip(index.places(kind), kind.crc32c, strict=True):
                if place.block in blocks:
                    _check_place(kind.kind, place, check, staged, path)
                    part = np.frombuffer(staged[place.begin : place.end], dtype="<f4")
                    found[kind.kind][place.block] = part.copy()
    return found


def _plan_staged(
    kinds: Mapping[str, Mapping[int, Any]], elements: int, block_elements: int, dtypes: Mapping[str, str]
) -> tuple[StagedIndex, list[memoryview]]:
    named = {kind: dtypes.get(kind, "F32") for kind in kinds}
    blocks = sorted(next(iter(kinds.values()), {}))
    staged: list[StagedKind] = []
    buffers: list[memoryview] = []
    offset = 0
    for kind in sorted(kinds, key=lambda kind: (-DTYPE_BYTES[named[kind]], kind.encode())):
        if sorted(kinds[kind]) != blocks:
            raise ValueError(f'kind "{kind}" holds other blocks than the first kind')
        size = DTYPE_BYTES[named[kind]]
        views = [
            _block_bytes(
                kinds[kind][block],
                size * (min((block + 1) * block_elements, elements) - block * block_elements),
            )
            for block in blocks
        ]
        checks = tuple(crc32c(as_bytes(view)) for view in views)
        staged.append(StagedKind(kind=kind, dtype=named[kind], offset=offset, crc32c=checks))
        buffers += views
        offset += sum(view.nbytes for view in views)
    index = StagedIndex(
        elements=elements,
        block_elements=block_elements,
        bytes=offset,
        runs=runs_of(blocks),
        kinds=tuple(staged),
    )
    return index, buffers


def write_packs(
    *,
    staged_path: str,
    index_json: str,
    schema_json: str,
    directory: str,
    writer: int,
    incarnation: int,
    save_id: str,
    step: int,
    generation: int,
    crc_block_bytes: int,
    pack_bytes_max: int = PACK_BYTES_MAX,
) -> PreparedManifest:
    """Writes packs, CRC lists and the writer manifest into the save's directory (a path or file:// address).

    Order of durability: each file is made with O_EXCL, written and fsynced once, packs and lists first, the
    manifest last, then the directory. Any failure raises SaveError; what was written stays where it is.
    """
    if not is_crc_block(crc_block_bytes):
        raise ValueError(
            f"crc_block_bytes is {crc_block_bytes}, expected a power of two from 4096 to 16777216"
        )
    folder = local_path(directory)
    index = StagedIndex.from_json(index_json)
    schema_bytes = schema_json.encode("utf-8")
    schema = parse_schema(schema_bytes)
    _check_one_section(schema, index)
    prefix = f"w{writer:05d}.{incarnation:03d}"
    with _mapped(staged_path, index) as staged:
        _check_staged(index, staged, staged_path)
        packs = plan_packs(index, schema, pack_bytes_max)
        sink = PackWriter(
            folder=folder, schema_sha256=sha256_name(schema_bytes), crc_block_bytes=crc_block_bytes
        )
        files = [sink.write(f"{prefix}-{number:02d}", pack, staged) for number, pack in enumerate(packs)]
        manifest = manifest_bytes(
            writer=writer,
            incarnation=incarnation,
            save_id=save_id,
            step=step,
            generation=generation,
            schema_sha256=sha256_name(schema_bytes),
            files=files,
            block_digests=block_digests(index, schema, staged),
        )
    sink.create(f"{prefix}.json", [manifest])
    sink.sync_folder()
    return PreparedManifest(
        manifest_path=f"{prefix}.json",
        manifest_sha256=sha256_name(manifest),
        bytes=sum(file.size for file in files),
    )


def _block_bytes(buffer: Any, length: int) -> memoryview:
    view = memoryview(buffer).cast("B")
    if view.nbytes < length:
        raise ValueError(f"a block of {length} bytes was given only {view.nbytes}")
    return view[:length]


def _write_staged(path: str, buffers: Sequence[memoryview]) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SaveError.of(path, error) from error
    try:
        for first in range(0, len(buffers), WRITEV_BUFFERS_MAX):
            _write_all(handle, list(buffers[first : first + WRITEV_BUFFERS_MAX]))
    except OSError as error:
        # A staged file is memory, not checkpoint data: half of one is worth nothing and would fill /dev/shm.
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise SaveError.of(path, error) from error
    finally:
        os.close(handle)


def _write_all(handle: int, buffers: list[memoryview]) -> None:
    while buffers:
        done = os.writev(handle, buffers)
        while buffers and done >= buffers[0].nbytes:
            done -= buffers.pop(0).nbytes
        if buffers:
            buffers[0] = buffers[0][done:]


@contextlib.contextmanager
def _mapped(path: str, index: StagedIndex) -> Iterator[Any]:
    """The staged file as read-only bytes; its size must be what the index says."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != index.bytes:
                raise SaveError(
                    "SWC_SIZE_MISMATCH", f"{path}: {size} bytes, the staged index says {index.bytes}"
                )
            if size == 0:
                yield as_bytes(b"")
                return
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise SaveError.of(path, error) from error
    # Not closed by hand: arrays over it may still be referenced by a traceback; the last one frees it.
    yield as_bytes(mapping)


def _check_one_section(schema: Schema, index: StagedIndex) -> None:
    section = schema.sections[0]
    if len(schema.sections) != 1 or section.elements != index.elements:
        raise ValueError(f"the schema has {section.elements} elements, the staged blocks {index.elements}")
    if schema.block_elements != index.block_elements:
        raise ValueError(
            f"the schema's blocks have {schema.block_elements} elements, staged {index.block_elements}"
        )
    staged = {kind.kind: kind.dtype for kind in index.kinds}
    if staged != dict(section.kinds):
        raise ValueError(f"the schema stores {dict(section.kinds)}, staged is {staged}")


def _check_staged(index: StagedIndex, staged: Any, path: str) -> None:
    """The staged memory still is what the rank handed over."""
    for kind in index.kinds:
        for place, check in zip(index.places(kind), kind.crc32c, strict=True):
            _check_place(kind.kind, place, check, staged, path)


def _check_place(kind: str, place: Place, check: int, staged: Any, path: str) -> None:
    found = crc32c(staged[place.begin : place.end])
    if found != check:
        raise SaveError(
            "SWC_CORRUPT_BLOCK",
            f"{path}: staged {kind} of block {place.block} (bytes {place.begin}..{place.end}): "
            f"crc32c {found:08x}, expected {check:08x}",
        )
