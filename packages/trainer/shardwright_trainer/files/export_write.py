"""The files of an export: safetensors written in one pass with a known header, digested on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shardwright_trainer.files.canonical_json import canonical_bytes
from shardwright_trainer.files.export_plan import ExportPlan
from shardwright_trainer.files.export_tensors import OutputTensor
from shardwright_trainer.files.safetensors_header import build_header
from shardwright_trainer.files.swc_errors import CheckpointError

HEADER_ALIGN = 8
HASH_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Receipt:
    """What export.json says: a digest per tensor and per file."""

    tensors: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)


def write_weights(
    folder: Path,
    plan: ExportPlan,
    tensors: Sequence[OutputTensor],
    receipt: Receipt,
    progress: Callable[[int, int], None],
) -> None:
    """One file, or numbered ones with an index, cut greedily in key order; never an empty one."""
    if not tensors:
        raise CheckpointError("SWC_EXPORT_REFUSED", "export: there is nothing to write")
    total = sum(tensor.bytes for tensor in tensors)
    shards = _shards(tensors, plan.shard_bytes_max)
    names = _names(plan.format, len(shards))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    for name, shard in zip(names, shards, strict=True):
        _write_shard(folder / name, shard, receipt, advance)
    if len(shards) > 1:
        weight_map = {
            tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard
        }
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", index, receipt)


def write_json(path: Path, value: Any, receipt: Receipt) -> None:
    """A JSON file, durable, in the receipt."""
    path.write_bytes(canonical_bytes(value))
    receipt.files[path.name] = file_digest(path, sync=True)


def file_digest(path: Path, *, sync: bool) -> dict[str, Any]:
    """Size and SHA-256 of a file as it is read back; fsynced first when `sync`."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb+" if sync else "rb") as file:
        if sync:
            os.fsync(file.fileno())
        while chunk := file.read(HASH_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": f"sha256:{digest.hexdigest()}"}


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _shards(tensors: Sequence[OutputTensor], bytes_max: int) -> list[list[OutputTensor]]:
    shards: list[list[OutputTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.bytes > bytes_max:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.bytes
    return shards


def _names(format_: str, count: int) -> list[str]:
    stem = "adapter_model" if format_ == "peft" else "model"
    if format_ == "peft" and count > 1:
        raise CheckpointError("SWC_EXPORT_REFUSED", "export: an adapter larger than one file may be")
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _write_shard(
    path: Path, tensors: Sequence[OutputTensor], receipt: Receipt, advance: Callable[[int], None]
) -> None:
    entries = [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
    header, _ = build_header(entries, {"format": "pt"}, HEADER_ALIGN)
    whole = hashlib.sha256(header)
    with path.open("xb") as file:
        file.write(header)
        for tensor in tensors:
            digest = hashlib.sha256()
            size = 0
            for chunk in tensor.chunks():
                for one in (digest, whole):
                    one.update(chunk)
                file.write(chunk)
                size += len(chunk)
                advance(len(chunk))
            if size != tensor.bytes:
                raise CheckpointError(
                    "SWC_EXPORT_REFUSED", f"export: {tensor.name} is {size} bytes of {tensor.bytes}"
                )
            receipt.tensors[tensor.name] = f"sha256:{digest.hexdigest()}"
        file.flush()
        os.fsync(file.fileno())
    written = file_digest(path, sync=False)
    if written["sha256"] != f"sha256:{whole.hexdigest()}":
        raise CheckpointError("SWC_EXPORT_REFUSED", f"export: {path.name} reads back as {written['sha256']}")
    receipt.files[path.name] = written
