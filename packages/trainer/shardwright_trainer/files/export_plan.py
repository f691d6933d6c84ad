"""The export plan: made by the checkpoint-manager (core/export-plan.ts), carried out here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardwright_trainer.files.canonical_json import parse_object
from shardwright_trainer.files.swc_errors import CheckpointError


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTensor:
    name: str
    """In the output."""
    fqn: str
    """In the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMerge:
    """`weight` of the base gets scale · B · A added."""

    weight: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBase:
    directory: str
    files: Mapping[str, str]
    """File name → "sha256:<hex>" that the job vouched for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlan:
    run_directory: str
    commit: str
    output_directory: str
    format: str
    """"peft" or "hf"."""
    merge: bool
    dtype: str
    """"stored", "fp32" or "bf16"."""
    base: PlannedBase | None
    tensors: tuple[PlannedTensor, ...]
    merges: tuple[PlannedMerge, ...]
    scale: float
    transposed: bool
    """The base keeps linear weights as [in, out]."""
    copy: tuple[str, ...]
    write: Mapping[str, Any]
    shard_bytes_max: int
    source: Mapping[str, Any]


def parse_plan(data: bytes) -> ExportPlan:
    """CheckpointError SWC_EXPORT_REFUSED when it is not a plan of this version."""
    try:
        value = parse_object(data)
        if value["v"] != 1:
            raise ValueError(f"version {value['v']}, expected 1")
        base = value["base"]
        return ExportPlan(
            run_directory=value["run_directory"],
            commit=value["commit"],
            output_directory=value["output_directory"],
            format=value["format"],
            merge=value["merge"],
            dtype=value["dtype"],
            base=None if base is None else PlannedBase(directory=base["directory"], files=base["files"]),
            tensors=tuple(PlannedTensor(name=item["name"], fqn=item["fqn"]) for item in value["tensors"]),
            merges=tuple(
                PlannedMerge(weight=item["weight"], a=item["a"], b=item["b"]) for item in value["merges"]
            ),
            scale=float(value["scale"]),
            transposed=value["transposed"],
            copy=tuple(value["copy"]),
            write=value["write"],
            shard_bytes_max=value["shard_bytes_max"],
            source=value["source"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError("SWC_EXPORT_REFUSED", f"export: the plan is not one: {error}") from error
