"""The tensor table of a run, schema/<sha256>.json: which tensors stand where, in which kinds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardwright_trainer.files.canonical_json import parse_object
from shardwright_trainer.files.safetensors_header import DTYPE_BYTES, elements_of

SCHEMA_BYTES_MAX = 64 * 1024 * 1024
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaTensor:
    fqn: str
    shape: tuple[int, ...]
    section: int
    start: int
    """Element offset within the section."""
    elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    id: int
    elements: int
    first_block: int
    blocks: int
    kinds: Mapping[str, str]
    """Stored kind → dtype; derived kinds are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    block_elements: int
    sections: tuple[Section, ...]
    tensors: tuple[SchemaTensor, ...]

    def pieces(self, section: int, begin: int, end: int) -> list[tuple[SchemaTensor, int, int]]:
        """Elements [begin, end) of a section, cut at tensor borders: (tensor, first element in it, count)."""
        tensors = [tensor for tensor in self.tensors if tensor.section == section and tensor.elements > 0]
        cut: list[tuple[SchemaTensor, int, int]] = []
        at = bisect_right(tensors, begin, key=lambda tensor: tensor.start) - 1
        while begin < end:
            tensor = tensors[at]
            stop = min(end, tensor.start + tensor.elements)
            cut.append((tensor, begin - tensor.start, stop - begin))
            begin, at = stop, at + 1
        return cut


def parse_schema(data: bytes) -> Schema:
    """ValueError says what is wrong; the table must tile every section in order."""
    value = parse_object(data)
    if value.get("swc") != VERSION:
        raise ValueError(f"format version {value.get('swc')}, newest supported is {VERSION}")
    if value.get("requires"):
        raise ValueError(f'requires "{value["requires"][0]}", unknown to this version')
    sections = tuple(_section(item) for item in value["sections"])
    tensors = tuple(_tensor(item) for item in value["tensors"])
    schema = Schema(block_elements=value["block_elems"], sections=sections, tensors=tensors)
    for section in sections:
        _check_tiled(schema, section)
    return schema


def _section(value: dict[str, Any]) -> Section:
    stored = {kind: facts["dtype"] for kind, facts in value["kinds"].items() if "derived" not in facts}
    for kind, dtype in stored.items():
        if dtype not in DTYPE_BYTES:
            raise ValueError(f'kind "{kind}" has unknown dtype {dtype!r}')
        if value["kinds"][kind].get("numel", "same") != "same":
            raise ValueError(f'kind "{kind}": only numel "same" is supported')
    return Section(
        id=value["id"],
        elements=value["numel"],
        first_block=value["first_block"],
        blocks=value["blocks"],
        kinds=stored,
    )


def _tensor(value: dict[str, Any]) -> SchemaTensor:
    shape = tuple(value["shape"])
    return SchemaTensor(
        fqn=value["fqn"],
        shape=shape,
        section=value["section"],
        start=value["start"],
        elements=elements_of(shape),
    )


def _check_tiled(schema: Schema, section: Section) -> None:
    at = 0
    for tensor in schema.tensors:
        if tensor.section != section.id:
            continue
        if tensor.start != at:
            raise ValueError(f"{tensor.fqn} starts at element {tensor.start}, expected {at}")
        at += tensor.elements
    if at != section.elements or section.blocks != -(-at // schema.block_elements):
        raise ValueError(f"section {section.id} has {section.elements} elements, its tensors {at}")
