"""What an export writes: each tensor as a stream of chunks, out of verified packs and the base's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from shardwright_trainer.files.committed import Committed
from shardwright_trainer.files.export_base import Base, BaseTensor
from shardwright_trainer.files.export_dtypes import FLOATS, NAMED, from_fp32
from shardwright_trainer.files.export_plan import ExportPlan, PlannedMerge
from shardwright_trainer.files.read_plan import Target, plan_reads
from shardwright_trainer.files.safetensors_header import DTYPE_BYTES, elements_of
from shardwright_trainer.files.swc_errors import CheckpointError

CHUNK_ELEMENTS = 8 * 1024 * 1024
"""32 MiB of fp32 at a time: a large embedding never lies in memory whole."""
Fp32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: Callable[[], Iterator[bytes]]
    """The tensor's bytes in order."""
    source_file: str | None
    """File of the base whose digest must hold before its bytes are used."""

    @property
    def bytes(self) -> int:
        return DTYPE_BYTES[self.dtype] * elements_of(self.shape)


def adapter_tensors(plan: ExportPlan, committed: Committed) -> list[OutputTensor]:
    """Every planned tensor of the checkpoint, from its fp32 master."""
    if not plan.tensors:
        raise CheckpointError("SWC_EXPORT_REFUSED", "export: the adapter is empty")
    dtype = NAMED.get(plan.dtype, "F32")
    return sorted(
        (_from_masters(committed, item.fqn, item.name, dtype) for item in plan.tensors),
        key=lambda item: item.name,
    )


def full_tensors(plan: ExportPlan, committed: Committed, base: Base) -> list[OutputTensor]:
    """Every tensor of the base under its own name: trained ones from the checkpoint, the others copied.

    A base saved from the bare model lacks the prefix ("transformer.", "model."); names are matched without.
    """
    trained = {_base_name(item.fqn, base): item.fqn for item in plan.tensors}
    unknown = sorted(name for name in trained if name not in base.tensors)
    if unknown:
        raise CheckpointError("SWC_EXPORT_REFUSED", f"export: {unknown[0]} is not a tensor of the base model")
    outputs: list[OutputTensor] = []
    for name, source in base.tensors.items():
        if name in trained:
            _same_shape(name, _shape_of(committed, trained[name]), source.entry.shape)
            outputs.append(_from_masters(committed, trained[name], name, _cast(plan, source)))
        else:
            outputs.append(_from_base(plan, name, source))
    return outputs


def merged_tensors(plan: ExportPlan, committed: Committed, base: Base) -> list[OutputTensor]:
    """Every tensor of the base, the adapted ones as W + scale · B · A, made in fp32 and then cast."""
    merges = {_base_name(item.weight, base): item for item in plan.merges}
    unknown = sorted(name for name in merges if name not in base.tensors)
    if unknown:
        raise CheckpointError("SWC_EXPORT_REFUSED", f"export: {unknown[0]} is not a tensor of the base model")
    outputs: list[OutputTensor] = []
    for name, source in base.tensors.items():
        merge = merges.get(name)
        if merge is None:
            outputs.append(_from_base(plan, name, source))
            continue
        factors = _factors(plan, committed, merge, source)
        chunks = partial(_merged_chunks, source, factors, _cast(plan, source))
        outputs.append(
            OutputTensor(
                name=name,
                dtype=_cast(plan, source),
                shape=source.entry.shape,
                chunks=chunks,
                source_file=source.file.name,
            )
        )
    return outputs


def master_values(committed: Committed, fqn: str, begin: int, end: int) -> Fp32:
    """Elements [begin, end) of a trained tensor, every byte of them verified."""
    tensor = next((item for item in committed.schema.tensors if item.fqn == fqn), None)
    if tensor is None:
        raise CheckpointError("SWC_EXPORT_REFUSED", f"export: {fqn} is not in the checkpoint")
    values = np.empty(end - begin, dtype=np.float32)
    target = Target(
        kind="master", begin=tensor.start + begin, end=tensor.start + end, into=values.view(np.uint8)
    )
    for read in plan_reads(committed.extents, committed.files, [target]):
        committed.read(read)
    return values


def _from_masters(committed: Committed, fqn: str, name: str, dtype: str) -> OutputTensor:
    shape = _shape_of(committed, fqn)
    if elements_of(shape) == 0:
        raise CheckpointError("SWC_EXPORT_REFUSED", f"export: {fqn} has no elements")

    def chunks() -> Iterator[bytes]:
        for begin, end in _spans(elements_of(shape)):
            yield _cast_whole(name, master_values(committed, fqn, begin, end), dtype)

    return OutputTensor(name=name, dtype=dtype, shape=shape, chunks=chunks, source_file=None)


def _from_base(plan: ExportPlan, name: str, source: BaseTensor) -> OutputTensor:
    dtype = _cast(plan, source)

    def chunks() -> Iterator[bytes]:
        for begin, end in _spans(elements_of(source.entry.shape)):
            if dtype == source.entry.dtype:
                yield source.raw(begin, end)
            else:
                yield _cast_whole(name, source.rows_fp32(begin, end), dtype)

    return OutputTensor(
        name=name, dtype=dtype, shape=source.entry.shape, chunks=chunks, source_file=source.file.name
    )


def _factors(
    plan: ExportPlan, committed: Committed, merge: PlannedMerge, source: BaseTensor
) -> tuple[Fp32, Fp32]:
    """(left, right) with left @ right the change of the weight in the base's own orientation."""
    a_shape, b_shape = _shape_of(committed, merge.a), _shape_of(committed, merge.b)
    a = master_values(committed, merge.a, 0, elements_of(a_shape)).reshape(a_shape)
    b = master_values(committed, merge.b, 0, elements_of(b_shape)).reshape(b_shape)
    left, right = (a.T, b.T) if plan.transposed else (b, a)
    _same_shape(merge.weight, (left.shape[0], right.shape[1]), source.entry.shape)
    return np.ascontiguousarray(left * np.float32(plan.scale)), np.ascontiguousarray(right)


def _merged_chunks(source: BaseTensor, factors: tuple[Fp32, Fp32], dtype: str) -> Iterator[bytes]:
    left, right = factors
    rows, columns = source.entry.shape
    step = max(1, CHUNK_ELEMENTS // columns)
    for first in range(0, rows, step):
        last = min(first + step, rows)
        weight = source.rows_fp32(first * columns, last * columns).reshape(last - first, columns)
        yield _cast_whole(source.entry.name, weight + left[first:last] @ right, dtype)


def _cast_whole(name: str, values: Fp32, dtype: str) -> bytes:
    """Cast bytes; refuses values that are not finite, or that the cast turned into nothing."""
    if not np.isfinite(values).all():
        raise CheckpointError("SWC_EXPORT_REFUSED", f"export: {name} holds values that are not finite")
    data = from_fp32(values, dtype)
    if not any(data) and values.any():
        raise CheckpointError("SWC_EXPORT_REFUSED", f"export: {name} became all zero in {dtype}")
    return data


def _cast(plan: ExportPlan, source: BaseTensor) -> str:
    """Floats take the asked dtype; anything else (and "stored") stays what the base has."""
    if source.entry.dtype not in FLOATS:
        return source.entry.dtype
    return NAMED.get(plan.dtype, source.entry.dtype)


def _base_name(fqn: str, base: Base) -> str:
    if fqn in base.tensors:
        return fqn
    _, _, bare = fqn.partition(".")
    return bare if bare in base.tensors else fqn


def _shape_of(committed: Committed, fqn: str) -> tuple[int, ...]:
    for tensor in committed.schema.tensors:
        if tensor.fqn == fqn:
            return tensor.shape
    raise CheckpointError("SWC_EXPORT_REFUSED", f"export: {fqn} is not in the checkpoint")


def _same_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(found) != tuple(expected):
        raise CheckpointError(
            "SWC_EXPORT_REFUSED", f"export: {name} is {list(found)}, the base has {list(expected)}"
        )


def _spans(elements: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, elements, CHUNK_ELEMENTS):
        yield begin, min(begin + CHUNK_ELEMENTS, elements)
