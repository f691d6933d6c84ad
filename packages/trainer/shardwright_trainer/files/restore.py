"""Restoring: range reads of the blocks a rank holds, every byte checked before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shardwright_trainer.files.committed import Committed, open_committed
from shardwright_trainer.files.read_plan import Target, plan_reads
from shardwright_trainer.files.swc_errors import CheckpointError
from shardwright_trainer.plan.config import BlockMap, FlatLayout

ADAMW_KINDS = ("exp_avg", "exp_avg_sq", "master")
NUMPY_DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I64": "<i8", "BF16": "<u2"}
NAMES_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredState:
    """What one rank got back."""

    step: int
    """Completed steps of the job."""
    blocks: dict[str, dict[int, npt.NDArray[Any]]]
    """kind → block → its elements; the last block of the space is short, padding is the caller's."""
    record: dict[str, Any]
    """The commit record, for optimizer step, scaler and cursor."""
    bytes_read: int


def restore(
    run_directory: str, commit: str, layout: FlatLayout, block_map: BlockMap, rank: int
) -> RestoredState:
    """Reads the blocks that `rank` holds (owned and replicas) of a committed checkpoint, whoever wrote it.

    The world size and block size at saving do not matter. CheckpointError names file and byte range: wrong
    bytes are never returned, missing ones never filled with zeros. Nothing is written or deleted.
    """
    committed = open_committed(run_directory, commit)
    _check_names(committed, layout)
    _check_kinds(committed, layout)
    targets: list[Target] = []
    blocks: dict[str, dict[int, npt.NDArray[Any]]] = {kind: {} for kind in ADAMW_KINDS}
    for kind, dtype in sorted(committed.schema.sections[0].kinds.items()):
        for begin, end in _held_ranges(block_map, rank):
            array = np.empty(end - begin, dtype=NUMPY_DTYPES[dtype])
            targets.append(Target(kind=kind, begin=begin, end=end, into=array.view(np.uint8)))
            for at in range(begin, end, block_map.block_elements):
                cut = array[at - begin : min(at + block_map.block_elements, end) - begin]
                blocks[kind][at // block_map.block_elements] = cut
    bytes_read = sum(committed.read(read) for read in plan_reads(committed.extents, committed.files, targets))
    return RestoredState(
        step=committed.record["step"], blocks=blocks, record=committed.record, bytes_read=bytes_read
    )


def _held_ranges(block_map: BlockMap, rank: int) -> list[tuple[int, int]]:
    """Element ranges of the held blocks, neighbouring runs joined."""
    ranges: list[tuple[int, int]] = []
    for run in block_map.runs:
        if rank not in run.holders:
            continue
        begin = run.first_block * block_map.block_elements
        end = min((run.first_block + run.blocks) * block_map.block_elements, block_map.elements)
        if ranges and ranges[-1][1] == begin:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((begin, end))
    return ranges


def _check_names(committed: Committed, layout: FlatLayout) -> None:
    """Resume compares names, shapes and places; any difference is printed and refused."""
    ours = {tensor.fqn: (tuple(tensor.shape), tensor.begin) for tensor in layout.tensors}
    theirs = {tensor.fqn: (tensor.shape, tensor.start) for tensor in committed.schema.tensors}
    added = sorted(ours.keys() - theirs.keys())
    removed = sorted(theirs.keys() - ours.keys())
    changed = sorted(fqn for fqn in ours.keys() & theirs.keys() if ours[fqn] != theirs[fqn])
    count = len(added) + len(removed) + len(changed)
    if count or len(committed.schema.sections) != 1:
        raise CheckpointError(
            "SWC_SCHEMA_MISMATCH",
            f"{count} tensors differ: + {_some(added)} - {_some(removed)} ~ {_some(changed)}",
        )


def _check_kinds(committed: Committed, layout: FlatLayout) -> None:
    kinds = committed.schema.sections[0].kinds
    count = len(committed.schema.tensors)
    for kind in kinds:
        if kind not in ADAMW_KINDS:
            raise CheckpointError(
                "SWC_UNKNOWN_KIND",
                f'kind "{kind}" ({count} tensors) is not used by optimizer adamw; '
                f"pass --ignore-kind {kind} to resume without it",
            )
    for kind in ADAMW_KINDS:
        if kind not in kinds:
            raise CheckpointError(
                "SWC_COVERAGE",
                f"section 0 kind {kind}: gap at elements 0..{layout.elements}: never stored",
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN_MAX])
    return f"[{shown}{', …' if len(names) > NAMES_SHOWN_MAX else ''}]"
