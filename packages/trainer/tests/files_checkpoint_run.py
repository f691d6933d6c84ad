"""Builds committed checkpoints for tests, by the book and without the checkpoint-manager."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shardwright_trainer.files.canonical_json import canonical_bytes, sha256_name, with_self
from shardwright_trainer.files.checkpoint import PreparedManifest, stage_blocks, write_packs
from shardwright_trainer.plan.config import BlockMap, BlockRun, FlatLayout, FlatTensor

RUN = "01K9Z5T7Q3M8R2V4X6B0C1D2E3"
SAVE_ID = "6e0f7c1a-2b3c-4d5e-8f90-a1b2c3d4e5f6"
KINDS = ("exp_avg", "exp_avg_sq", "master")
State = dict[str, npt.NDArray[np.float32]]


def a_layout(*shapes: tuple[int, ...], names: list[str] | None = None) -> FlatLayout:
    """Tensors t0, t1, … (or `names`) of these shapes, one after the other."""
    tensors: list[FlatTensor] = []
    at = 0
    for number, shape in enumerate(shapes):
        size = int(np.prod(shape, dtype=np.int64))
        fqn = names[number] if names else f"layer.{number}.weight"
        tensors.append(FlatTensor(fqn=fqn, shape=shape, begin=at, end=at + size))
        at += size
    return FlatLayout(tensors=tuple(tensors), elements=at, fingerprint="00")


def a_map(elements: int, block_elements: int, owners: Sequence[tuple[int, ...]]) -> BlockMap:
    """owners[b] = holders of block b."""
    runs: list[BlockRun] = []
    for block, holders in enumerate(owners):
        if runs and runs[-1].holders == holders:
            last = runs[-1]
            runs[-1] = BlockRun(first_block=last.first_block, blocks=last.blocks + 1, holders=holders)
        else:
            runs.append(BlockRun(first_block=block, blocks=1, holders=holders))
    return BlockMap(elements=elements, block_elements=block_elements, blocks=len(owners), runs=tuple(runs))


def a_state(elements: int, seed: int = 0) -> State:
    draw = np.random.default_rng(seed)
    return {kind: draw.standard_normal(elements).astype(np.float32) for kind in KINDS}


def schema_of(layout: FlatLayout, block_elements: int) -> bytes:
    kinds = {kind: {"dtype": "F32", "numel": "same"} for kind in KINDS}
    blocks = -(-layout.elements // block_elements)
    section = {"id": 0, "numel": layout.elements, "first_block": 0, "blocks": blocks, "quantum": 1}
    tensors = [
        {"fqn": t.fqn, "shape": list(t.shape), "section": 0, "start": t.begin, "group": 0, "aliases": []}
        for t in layout.tensors
    ]
    return canonical_bytes(
        {
            "swc": 1, "order": "swc-order-1", "block_elems": block_elements, "requires": [],
            "sections": [{**section, "optimizer": "adamw", "kinds": kinds}],
            "tensors": tensors, "aux": [], "frozen": [],
        }
    )  # fmt: skip


def commit_key(step: int, generation: int = 1) -> str:
    return f"{step:020d}-{generation:010d}-000"


def commit(
    run: Path, layout: FlatLayout, block_map: BlockMap, state: State, *, step: int = 10,
    crc_block: int = 4096, pack_bytes_max: int = 64 * 1024**3, **facts: Any,
) -> str:  # fmt: skip
    """Writes one checkpoint under `run` and returns its commit key."""
    schema = schema_of(layout, block_map.block_elements)
    key = commit_key(step)
    folder = run / "data" / f"{key}-{SAVE_ID}"
    for path in (folder, run / "schema", run / "commits"):
        path.mkdir(parents=True, exist_ok=True)
    schema_path = f"schema/{hashlib.sha256(schema).hexdigest()}.json"
    (run / schema_path).write_bytes(schema)
    writers = []
    for rank in sorted({item.holders[0] for item in block_map.runs}):
        prepared = stage_and_write(
            folder,
            schema,
            block_map,
            state,
            rank,
            step=step,
            crc_block=crc_block,
            pack_bytes_max=pack_bytes_max,
        )
        manifest = f"data/{folder.name}/{prepared.manifest_path}"
        writers.append(
            {"id": rank, "manifest": manifest, "sha256": prepared.manifest_sha256, "bytes": prepared.bytes}
        )
    record = {
        "swc": 1, "status": "committed", "requires": [], "run": RUN, "job": "test", "step": step,
        "generation": 1, "try": 0, "save_id": SAVE_ID, "parents": [],
        "created": "2026-11-23T12:30:01Z", "trigger": "periodic",
        "schema": {"path": schema_path, "sha256": sha256_name(schema), "tensors": len(layout.tensors)},
        "writers": writers, "optimizer": {"class": "adamw", "step": step, "groups": []}, **facts,
    }  # fmt: skip
    (run / "commits" / f"{key}.json").write_bytes(canonical_bytes(with_self(record)))
    return key


def stage_and_write(
    folder: Path, schema: bytes, block_map: BlockMap, state: State, rank: int, *, step: int,
    crc_block: int, pack_bytes_max: int = 64 * 1024**3,
) -> PreparedManifest:  # fmt: skip
    size = block_map.block_elements
    owned = [
        b
        for r in block_map.runs
        if r.holders[0] == rank
        for b in range(r.first_block, r.first_block + r.blocks)
    ]
    padded = {kind: np.zeros(block_map.blocks * size, np.float32) for kind in KINDS}
    for kind in KINDS:
        padded[kind][: block_map.elements] = state[kind]
    blocks = {kind: {b: padded[kind][b * size : (b + 1) * size] for b in owned} for kind in KINDS}
    staged = str(folder.parent / f"staged-{os.getpid()}-{rank}")
    index_json, _ = stage_blocks(staged, blocks, elements=block_map.elements, block_elements=size)
    try:
        return write_packs(
            staged_path=staged, index_json=index_json, schema_json=schema.decode(), directory=f"file://{folder}",
            writer=rank, incarnation=0, save_id=SAVE_ID, step=step, generation=1, crc_block_bytes=crc_block,
            pack_bytes_max=pack_bytes_max,
        )  # fmt: skip
    finally:
        os.unlink(staged)
