"""The writer manifest: which files one writer made, with every digest that the commit rests on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from shardwright_trainer.files.canonical_json import canonical_bytes, with_self
from shardwright_trainer.files.crc import Bytes
from shardwright_trainer.files.packs import WrittenFile
from shardwright_trainer.files.safetensors_header import DTYPE_BYTES
from shardwright_trainer.files.schema import Schema
from shardwright_trainer.files.staged import StagedIndex

STATE_DIGEST_BYTES_MAX = 4 * 1024**3
"""Up to this much state, writers digest every block, and the commit record carries a state digest."""
STATE_DIGEST_BLOCKS_MAX = 100_000
"""67 bytes per digest: a manifest stays below half of its 16 MiB limit."""


def block_digests(index: StagedIndex, schema: Schema, staged: Bytes) -> list[dict[str, Any]]:
    """SHA-256 of every staged block by kind and run; empty when the whole state is too large for it.

    The rule looks at the whole state, not at this writer's part, so that all writers of a save agree.
    """
    section = schema.sections[0]
    total_bytes = section.elements * sum(DTYPE_BYTES[dtype] for dtype in section.kinds.values())
    if total_bytes > STATE_DIGEST_BYTES_MAX or section.blocks * len(section.kinds) > STATE_DIGEST_BLOCKS_MAX:
        return []
    digests: list[dict[str, Any]] = []
    for kind in index.kinds:
        by_block = {
            place.block: hashlib.sha256(staged[place.begin : place.end].data).hexdigest()
            for place in index.places(kind)
        }
        for first, count in index.runs:
            found = [by_block[block] for block in range(first, first + count)]
            digests.append({"kind": kind.kind, "section": section.id, "first_block": first, "sha256": found})
    return digests


def manifest_bytes(
    *,
    writer: int,
    incarnation: int,
    save_id: str,
    step: int,
    generation: int,
    schema_sha256: str,
    files: Sequence[WrittenFile],
    block_digests: list[dict[str, Any]],
) -> bytes:
    """Canonical JSON of the manifest, with its own digest."""
    headers = hashlib.sha256()
    for file in files:
        headers.update(file.header)
    return canonical_bytes(
        with_self(
            {
                "swc": 1,
                "writer": writer,
                "inc": incarnation,
                "save_id": save_id,
                "step": step,
                "generation": generation,
                "schema": schema_sha256,
                "files": [_file(file) for file in files],
                "entries_sha256": f"sha256:{headers.hexdigest()}",
                "block_digests": block_digests,
            }
        )
    )


def _file(file: WrittenFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "bytes": file.size,
        "header_bytes": file.header_bytes,
        "sha256": file.sha256,
        "crc": {
            "alg": "crc32c",
            "block": file.crc_block_bytes,
            "path": file.crc_path,
            "sha256": file.crc_sha256,
        },
    }
