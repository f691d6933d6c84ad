"""JSON rows: one object of a line, or the objects of one array, each with where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from shardwright_trainer.data.complaints import Complaints

_UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


def parse_line(line: str, number: int, complaints: Complaints) -> dict[str, Any] | None:
    """One JSON object. The example number of a message is the line's, as nothing else is known yet."""
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        text = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        complaints.error(
            "invalid_jsonl",
            f"Example {number} cannot be parsed. Error: line contains invalid json: {text} (line {number})",
            number,
        )
        return None
    if not isinstance(value, dict):
        complaints.error(
            "invalid_jsonl",
            "Expected file to have JSONL format, where every line is a JSON dictionary. "
            f'Line {number} is not a dictionary (HINT: line starts with: "{line.lstrip()[:20]}…").',
            number,
        )
        return None
    column = unpaired_surrogate(line)
    if column is not None:
        complaints.error(
            "invalid_encoding", f"Line {number}, column {column} is not valid UTF-8 text.", number
        )
        return None
    return value


def unpaired_surrogate(text: str) -> int | None:
    """Column, from 1, of the first escape in JSON text that is half a surrogate pair or NUL, or None."""
    position = 0
    while (position := text.find("\\", position)) >= 0:
        unit = _escape_at(text, position)
        if unit is None:
            position += 2
        elif unit == 0 or 0xDC00 <= unit < 0xE000:
            return position + 1
        elif 0xD800 <= unit < 0xDC00:
            low = _escape_at(text, position + 6)
            if low is None or not 0xDC00 <= low < 0xE000:
                return position + 1
            position += 12
        else:
            position += 6
    return None


def _escape_at(text: str, position: int) -> int | None:
    found = _UNICODE_ESCAPE.match(text, position)
    return int(found[1], 16) if found else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def array_rows(text: str, complaints: Complaints) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of each element of the JSON array `text`; problems are noted."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    space = re.compile(r"[ \t\r\n]*")
    position, line, counted = _skip(space, text, text.index("[") + 1), 1, 0
    example = 0
    while position < len(text) and text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        example += 1
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            complaints.error(
                "invalid_jsonl",
                f"Example {example} cannot be parsed. Error: line contains invalid json: {reason} "
                f"(line {line})",
                line,
                example,
            )
            return
        column = unpaired_surrogate(text[position:end])
        if column is not None:
            message = f"Line {line}, column {column} is not valid UTF-8 text."
            complaints.error("invalid_encoding", message, line, example)
        elif isinstance(value, dict):
            yield line, value
        else:
            complaints.error(
                "invalid_jsonl", f"Example {example} is not a dictionary (line {line}).", line, example
            )
        position = _skip(space, text, end)
        if text[position : position + 1] == ",":
            position = _skip(space, text, position + 1)
        elif text[position : position + 1] != "]":
            complaints.error(
                "invalid_jsonl", f"Example {example}: expected ',' or ']' after it (line {line}).", line
            )
            return
    if position >= len(text):
        complaints.error("invalid_jsonl", "The JSON array does not end.", line)


def _skip(space: re.Pattern[str], text: str, position: int) -> int:
    found = space.match(text, position)
    return found.end() if found else position
