"""Rows of any supported shape → canonical records. Pure: no model, no tokenizer, no files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shardwright_trainer.data.complaints import Complaints
from shardwright_trainer.data.messages import Message, has_image
from shardwright_trainer.data.shapes import READERS
from shardwright_trainer.data.sources import RawRow

NAMES = {
    "chat": "chat",
    "completions": "prompt/completion",
    "alpaca": "Alpaca",
    "sharegpt": "ShareGPT",
    "text": "text",
    "tabular": "input/output",
    "preference": "preference",
    "kto": "unpaired preference",
    "stepwise": "stepwise",
    "classification": "classification",
    "embedding": "embedding",
}
# What a mask policy of "auto" means for each shape.
DEFAULT_MASK = {
    "chat": "assistant",
    "sharegpt": "assistant",
    "completions": "completion",
    "alpaca": "completion",
    "tabular": "completion",
    "text": "all",
    "mlx": "all",
}
_REFUSED = ("preference", "kto", "stepwise", "classification", "embedding")
_KEYS: dict[str, tuple[str, ...]] = {
    "chat": ("messages",),
    "sharegpt": ("conversations",),
    "completions": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "text": ("text",),
    "tabular": ("input", "output"),
}
_IGNORED_FREELY = {
    "chat": {"messages", "tools", "functions", "parallel_tool_calls"},
    "sharegpt": {"conversations", "system", "tools"},
    "alpaca": {"instruction", "input", "output", "system", "history"},
    "completions": {"prompt", "completion"},
    "text": {"text"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One example in the one form that rendering knows.

    kind "chat": messages (and fields where the row had named parts, for text templates); "prompt": fields
    prompt and completion; "text": fields text. mask: the default policy of its shape.
    """

    kind: str
    messages: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    mask: str
    line: int
    example: int


def detect_shape(keys: set[str], implied: str | None, has_map: bool) -> list[str]:
    """Shapes that keys of a row match, best first; several of equal right make the row ambiguous."""
    if "input" in keys and keys & {"preferred_output", "preferred_completion"}:
        return ["preference"]
    if {"chosen", "rejected"} <= keys:
        return ["preference"]
    if {"prompt", "completion", "label"} <= keys:
        return ["kto"]
    if {"prompt", "completions", "labels"} <= keys:
        return ["stepwise"]
    order = (
        ("completions", "chat", "text") if implied == "mlx" else ("chat", "sharegpt", "completions", "alpaca")
    )
    found = [shape for shape in order if set(_KEYS[shape]) <= keys]
    if implied == "mlx":
        return found[:1]
    if not found and "text" in keys:
        return ["text"]
    if not found and {"input", "output"} <= keys and (has_map or implied == "tabular"):
        return ["tabular"]
    return found


def read_records(
    rows: Iterable[RawRow], data: Mapping[str, Any], implied: str | None, complaints: Complaints
) -> list[Record]:
    """Canonical records of all rows. data: the `data` object of a JobSpec; implied: Source.shape.

    Rows that cannot be used are noted in `complaints`, with their line and their example number.
    """
    asked = data["format"]
    implied = asked if asked in {"mlx", "tabular"} else implied
    shape = asked if asked not in {"auto", "mlx", "tabular"} else None
    renames = {column: role for role, column in data["map"].items()}
    records: list[Record] = []
    images = 0
    for row in rows:
        value = _renamed(row, renames, complaints)
        if value is None:
            continue
        if shape is None:
            shape = _settle_shape(row, value, implied, bool(renames), complaints)
            if shape is None:
                return records
        if shape == "chat" and isinstance(value.get("messages"), list) and _skips_image(value["messages"]):
            images += 1
            continue
        record = _read_one(row, value, shape, implied, complaints)
        if record is not None:
            records.append(record)
    if images:
        complaints.warn(f"{images} examples with images were skipped.")
    return records


def _skips_image(messages: list[Any]) -> bool:
    assistant = [item for item in messages if isinstance(item, dict) and item.get("role") == "assistant"]
    return has_image(messages) and not has_image(assistant)


def _renamed(row: RawRow, renames: Mapping[str, str], complaints: Complaints) -> dict[str, Any] | None:
    if isinstance(row.value, str):
        return {"text": row.value}
    for column in renames:
        if column not in row.value:
            known = ", ".join(list(row.value)[:20])
            message = f"Line {row.line} has no column '{column}', which data.map names; it has [{known}]."
            complaints.error("missing_column", message, row.line, row.example)
            return None
    return {renames.get(key, key): value for key, value in row.value.items()}


def _settle_shape(
    row: RawRow, value: dict[str, Any], implied: str | None, has_map: bool, complaints: Complaints
) -> str | None:
    found = detect_shape(set(value), implied, has_map)
    if len(found) == 1 and found[0] not in _REFUSED:
        return found[0]
    if not found:
        keys = ", ".join(list(value)[:20])
        text = f"Line {row.line} has keys [{keys}]; no known shape matches."
        if implied == "tabular":
            text += " Set data.map, for example {input: COLUMN, output: COLUMN}."
        complaints.error("unknown_format", text, row.line, row.example)
    elif len(found) == 1:
        text = f"{NAMES[found[0]].capitalize()} data is not supported yet."
        complaints.error("unsupported_format", text, row.line, row.example)
    else:
        names = " and ".join(NAMES[shape] for shape in found)
        text = f"Line {row.line} matches {names}; set data.format."
        complaints.error("ambiguous_format", text, row.line, row.example)
    return None


def _read_one(
    row: RawRow, value: dict[str, Any], shape: str, implied: str | None, complaints: Complaints
) -> Record | None:
    wrong = complaints.errors_count

    def note(code: str, message: str) -> None:
        complaints.error(code, message, row.line, row.example)

    missing = [key for key in _KEYS[shape] if key not in value]
    if missing:
        other = [found for found in detect_shape(set(value), implied, True) if found != shape]
        if other:
            note("mixed_format", f"The first row is {NAMES[shape]}, line {row.line} is {NAMES[other[0]]}.")
        else:
            note("missing_messages_list", f"Example {row.example} is missing key '{missing[0]}'.")
        return None
    for key in value.keys() - _IGNORED_FREELY.get(shape, value.keys()):
        complaints.warn(f"Key '{key}' is ignored.")
    parts = READERS[shape](row.example, value, note)
    if parts is None or complaints.errors_count > wrong:
        return None
    mask = DEFAULT_MASK["mlx" if implied == "mlx" else shape]
    if implied == "mlx" and parts["kind"] == "prompt":
        # MLX turns a prompt and its completion into a user and an assistant turn.
        parts = {"kind": "chat", "fields": parts["fields"], "messages": _pair(parts["fields"])}
    return Record(mask=mask, line=row.line, example=row.example, **parts)


def _pair(fields: Mapping[str, str]) -> tuple[Message, ...]:
    return (
        {"role": "user", "content": fields["prompt"]},
        {"role": "assistant", "content": fields["completion"], "weight": 1},
    )
