"""One reader for each shape of a row: keys and values as users write them → parts of a canonical record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shardwright_trainer.data.messages import Message, Note, read_messages, read_tools

Parts = dict[str, Any]


def _read_chat(example: int, value: dict[str, Any], note: Note) -> Parts | None:
    raw = value["messages"]
    if not isinstance(raw, list) or not raw:
        note("missing_messages_list", f"Example {example} is missing key 'messages'.")
        return None
    declared = value.get("tools", value.get("functions"))
    tools = [] if declared is None else read_tools(example, declared, note)
    names = None if declared is None else {tool["function"]["name"] for tool in tools}
    messages = read_messages(example, raw, names, note)
    if len(messages) == len(raw) and not any(message.get("weight") for message in messages):
        note(
            "example_missing_assistant_message", f"Example {example} has no assistant message to learn from."
        )
    return {"kind": "chat", "messages": tuple(messages), "tools": tuple(tools)}


def _strings(
    example: int, value: dict[str, Any], required: tuple[str, ...], optional: tuple[str, ...], note: Note
) -> dict[str, str] | None:
    """The named fields as strings; a required one must not be empty."""
    found: dict[str, str] = {}
    for key in (*required, *optional):
        given = value.get(key)
        if given is None and key in optional:
            continue
        if not isinstance(given, str):
            note("data_type", f"Example {example}: '{key}' must be a string.")
            return None
        if key in required and not given.strip():
            note("missing_content", f"Example {example} has no content in '{key}'.")
            return None
        found[key] = given
    return found


def _read_completion(example: int, value: dict[str, Any], note: Note) -> Parts | None:
    fields = _strings(example, value, ("completion",), ("prompt",), note)
    return None if fields is None else {"kind": "prompt", "fields": {"prompt": "", **fields}}


def _read_text(example: int, value: dict[str, Any], note: Note) -> Parts | None:
    fields = _strings(example, value, ("text",), (), note)
    return None if fields is None else {"kind": "text", "fields": fields}


def _read_table(example: int, value: dict[str, Any], note: Note) -> Parts | None:
    fields = _strings(example, value, ("input", "output"), ("system",), note)
    if fields is None:
        return None
    turns = _turns(fields.get("system"), [(fields["input"], fields["output"])])
    named = {"instruction": fields["input"], "input": "", "output": fields["output"]}
    return {"kind": "chat", "messages": turns, "fields": {**fields, **named}}


def _read_alpaca(example: int, value: dict[str, Any], note: Note) -> Parts | None:
    fields = _strings(example, value, ("instruction", "output"), ("input", "system"), note)
    history = value.get("history") or []
    if fields is None:
        return None
    pairs: list[tuple[str, str]] = []
    for pair in history if isinstance(history, list) else [None]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            note("data_type", f"Example {example}: 'history' must be a list of [question, answer].")
            return None
        pairs.append((pair[0], pair[1]))
    given = fields.get("input", "")
    asked = f"{fields['instruction']}\n{given}" if given else fields["instruction"]
    turns = _turns(fields.get("system"), [*pairs, (asked, fields["output"])])
    # A text template has no place for earlier turns.
    named = {} if pairs else {"input": "", **fields}
    return {"kind": "chat", "messages": turns, "fields": named}


def _turns(system: str | None, pairs: Iterable[tuple[str, str]]) -> tuple[Message, ...]:
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for question, answer in pairs:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer, "weight": 1})
    return tuple(messages)


def _read_sharegpt(example: int, value: dict[str, Any], note: Note) -> Parts | None:
    turns = value["conversations"]
    if not isinstance(turns, list) or not turns:
        note("missing_messages_list", f"Example {example} is missing key 'conversations'.")
        return None
    messages: list[Message] = []
    if isinstance(value.get("system"), str) and value["system"]:
        messages.append({"role": "system", "content": value["system"]})
    asks = True
    for index, turn in enumerate(turns, start=1):
        where = f"Example {example}, turn {index}"
        sender = turn.get("from") if isinstance(turn, dict) else None
        text = turn.get("value") if isinstance(turn, dict) else None
        if index == 1 and sender == "system" and isinstance(text, str):
            messages.append({"role": "system", "content": text})
            continue
        expected = ("human", "observation") if asks else ("gpt", "function_call")
        if sender not in expected:
            note("broken_alternation", f"{where}: expected {' or '.join(expected)}, got {sender}.")
            return None
        if not isinstance(text, str) or not text:
            note("missing_content", f"{where} has no content.")
            return None
        message = _turn(sender, text)
        if message is None:
            note("invalid_tool_call", f"{where}: arguments are not valid JSON.")
            return None
        messages.append(message)
        asks = not asks
    if not asks or not messages:
        note(
            "broken_alternation",
            f"Example {example}, turn {len(turns)}: expected gpt or function_call at the end.",
        )
        return None
    return {"kind": "chat", "messages": tuple(messages)}


def _turn(sender: str, text: str) -> Message | None:
    """None for a function_call that is not an object with a name."""
    if sender == "human":
        return {"role": "user", "content": text}
    if sender == "observation":
        # ShareGPT has no call ids; the name keeps the message complete for templates that print it.
        return {"role": "tool", "name": "observation", "content": text}
    if sender == "gpt":
        return {"role": "assistant", "content": text, "weight": 1}
    try:
        call = json.loads(text)
        function = {"name": call["name"], "arguments": call["arguments"]}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    called = [{"type": "function", "function": function}]
    return {"role": "assistant", "content": "", "weight": 1, "tool_calls": called}


READERS: Mapping[str, Callable[[int, dict[str, Any], Note], Parts | None]] = {
    "chat": _read_chat,
    "sharegpt": _read_sharegpt,
    "completions": _read_completion,
    "alpaca": _read_alpaca,
    "text": _read_text,
    "tabular": _read_table,
}
"""Shape → reader of one row: parts of a Record, or None after noting what is wrong."""
