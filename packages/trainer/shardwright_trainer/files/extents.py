"""What the packs of a checkpoint hold, in terms of its schema, and the proof that it is all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shardwright_trainer.files.read_plan import Extent
from shardwright_trainer.files.safetensors_header import DTYPE_BYTES, HeaderEntry
from shardwright_trainer.files.schema import Schema, SchemaTensor
from shardwright_trainer.files.swc_errors import CheckpointError


def extents_of(number: int, path: str, entries: Sequence[HeaderEntry], schema: Schema) -> list[Extent]:
    """Extents of pack `number` of the checkpoint; SWC_BAD_HEADER for what the schema does not store."""
    tensors = {tensor.fqn: tensor for tensor in schema.tensors}
    extents: list[Extent] = []
    for entry in entries:
        kind, fqn, first = _entry_name(path, entry)
        tensor = tensors.get(fqn)
        if tensor is None or kind not in schema.sections[tensor.section].kinds:
            raise CheckpointError(
                "SWC_BAD_HEADER",
                f'{path}: safetensors header invalid: "{entry.name}" is not in the schema',
            )
        _check_entry(path, entry, tensor, first, schema.sections[tensor.section].kinds[kind])
        begin = tensor.start + first
        extents.append(
            Extent(
                kind=kind,
                begin=begin,
                end=begin + entry.shape[0],
                file=number,
                byte=entry.begin,
                element_bytes=DTYPE_BYTES[entry.dtype],
                name=entry.name,
            )
        )
    return extents


def _entry_name(path: str, entry: HeaderEntry) -> tuple[str, str, int]:
    """ "{kind}/{fqn}@{e0}", parted at the first / and the last @."""
    kind, slash, rest = entry.name.partition("/")
    fqn, at, first = rest.rpartition("@")
    if (
        not slash
        or not at
        or not re.fullmatch(r"[a-z0-9_]+", kind)
        or not re.fullmatch(r"0|[1-9]\d{0,15}", first)
    ):
        raise CheckpointError(
            "SWC_BAD_HEADER", f'{path}: safetensors header invalid: "{entry.name}" is not kind/name@element'
        )
    return kind, fqn, int(first)


def _check_entry(path: str, entry: HeaderEntry, tensor: SchemaTensor, first: int, dtype: str) -> None:
    if len(entry.shape) != 1 or first + entry.shape[0] > tensor.elements or entry.dtype != dtype:
        raise CheckpointError(
            "SWC_BAD_HEADER",
            f'{path}: safetensors header invalid: "{entry.name}" is {entry.dtype}{list(entry.shape)}, '
            f"the schema has {dtype}{list(tensor.shape)}",
        )


def check_coverage(schema: Schema, extents: tuple[Extent, ...]) -> None:
    """Each kind of the section is tiled exactly once; the schema's writer makes one section."""
    if len(schema.sections) != 1:
        raise CheckpointError(
            "SWC_UNKNOWN_FEATURE",
            f'requires "{len(schema.sections)} sections", unknown to this version; nothing was changed',
        )
    section = schema.sections[0]
    for kind in sorted(section.kinds):
        at = 0
        for extent in sorted(
            (item for item in extents if item.kind == kind), key=lambda item: (item.begin, item.end)
        ):
            if extent.begin != at:
                what, low, high = (
                    ("gap", at, extent.begin) if extent.begin > at else ("overlap", extent.begin, at)
                )
                raise _coverage(schema, kind, what, (low, high))
            at = extent.end
        if at != section.elements:
            raise _coverage(schema, kind, "gap", (at, section.elements))


def _coverage(schema: Schema, kind: str, what: str, span: tuple[int, int]) -> CheckpointError:
    tensor = schema.pieces(schema.sections[0].id, span[0], span[0] + 1)[0][0]
    block = span[0] // schema.block_elements
    return CheckpointError(
        "SWC_COVERAGE",
        f"section 0 kind {kind}: {what} at elements {span[0]}..{span[1]} (block {block}, {tensor.fqn})",
    )
