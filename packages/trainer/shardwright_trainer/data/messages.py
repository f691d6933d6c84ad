"""Chat messages as users write them → messages a chat template takes; every problem named by message."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
KEYS = frozenset(
    ("role", "content", "name", "function_call", "tool_calls", "tool_call_id", "weight", "refusal", "audio")
)
TOOLS_MAX = 128

Message = dict[str, Any]
Note = Callable[[str, str], None]
"""Takes (code, message) of an error."""


def read_messages(example: int, raw: Sequence[Any], tool_names: set[str] | None, note: Note) -> list[Message]:
    """Canonical messages: role system, user, assistant or tool; content a string; assistants have `weight`.

    tool_names: names that may be called; None where the row declares no tools.
    """
    messages = []
    calls: set[str] = set()
    for index, item in enumerate(raw, start=1):
        where = f"Example {example}, message {index}"
        message = _read_message(example, where, item, note)
        if message is None:
            continue
        if message["role"] == "tool" and message.get("tool_call_id") not in calls and "name" not in message:
            given = message.get("tool_call_id")
            note("invalid_tool_call", f"{where}: tool_call_id '{given}' matches no earlier call.")
        for call in message.get("tool_calls", ()):
            calls.add(call.get("id", ""))
            name = call["function"]["name"]
            if tool_names is not None and name not in tool_names:
                note("invalid_tool_call", f"{where}: tool call '{name}' is not in tools.")
        messages.append(message)
    return messages


def has_image(raw: Sequence[Any]) -> bool:
    """Whether any message holds a picture or sound; a text-only trainer leaves the whole row out."""
    return any(
        isinstance(part, dict) and part.get("type") in {"image_url", "input_audio"}
        for item in raw
        if isinstance(item, dict)
        for part in (item["content"] if isinstance(item.get("content"), list) else ())
    )


def read_tools(example: int, value: Any, note: Note) -> list[dict[str, Any]]:
    """`tools` of a row, or the older `functions` wrapped as tools."""
    if not isinstance(value, list) or not 1 <= len(value) <= TOOLS_MAX:
        note("invalid_tool_call", f"Example {example}: tools must be a list of 1 to {TOOLS_MAX} functions.")
        return []
    tools = []
    for item in value:
        tool = (
            item if isinstance(item, dict) and "function" in item else {"type": "function", "function": item}
        )
        function = tool["function"]
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            note("invalid_tool_call", f"Example {example}: a tool has no name.")
        else:
            tools.append(tool)
    return tools


def _read_message(example: int, where: str, item: Any, note: Note) -> Message | None:
    if not isinstance(item, dict):
        note("data_type", f"{where} is not a dictionary.")
        return None
    if "role" not in item:
        note("message_missing_key", f"{where} Discriminator 'role' is missing in value")
        return None
    for key in item:
        if key not in KEYS:
            note("message_unrecognized_key", f'Example {example} contains an extra "{key}".')
    role = item["role"]
    if role not in ROLES:
        note("unrecognized_role", f"{where} has role '{role}'; expected one of {', '.join(ROLES)}.")
        return None
    message: Message = {"role": {"developer": "system", "function": "tool"}.get(role, role)}
    content = _read_content(where, item, note)
    if content is None:
        return None
    message["content"] = content
    for key in ("name", "tool_call_id"):
        if isinstance(item.get(key), str):
            message[key] = item[key]
    calls = _read_calls(where, item, note)
    if calls:
        message["tool_calls"] = calls
    weight = _read_weight(where, item, note)
    if role == "assistant":
        message["weight"] = weight
    return message


def _read_content(where: str, item: dict[str, Any], note: Note) -> str | None:
    content = item.get("content")
    calls = item["role"] == "assistant" and (item.get("tool_calls") or item.get("function_call"))
    if content is None and calls:
        return ""
    if "content" not in item:
        note("message_missing_key", f"{where} is missing key 'content'.")
        return None
    if isinstance(content, list) and content:
        kinds = {part.get("type") if isinstance(part, dict) else None for part in content}
        if item["role"] == "assistant" and "image_url" in kinds:
            note("invalid_image", f"{where}: images are not allowed in assistant messages.")
            return None
        if kinds == {"text"} and all(isinstance(part.get("text"), str) for part in content):
            content = "".join(part["text"] for part in content)
    if not isinstance(content, str) or (content == "" and not calls):
        note("missing_content", f"{where} has no content.")
        return None
    return content


def _read_calls(where: str, item: dict[str, Any], note: Note) -> list[dict[str, Any]]:
    """Calls with their arguments parsed, as chat templates expect them."""
    raw = item.get("tool_calls") or []
    if item.get("function_call"):
        raw = [{"type": "function", "function": item["function_call"]}]
    calls = []
    for item_call in raw if isinstance(raw, list) else [None]:
        call: dict[str, Any] = item_call if isinstance(item_call, dict) else {}
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            note("invalid_tool_call", f"{where}: a tool call has no function name.")
            continue
        try:
            arguments = json.loads(function.get("arguments", ""))
        except (TypeError, ValueError, RecursionError):
            note(
                "invalid_tool_call", f"{where}: tool call '{function['name']}' arguments are not valid JSON."
            )
            continue
        known = {"function": {"name": function["name"], "arguments": arguments}, "type": "function"}
        calls.append({**known, "id": call["id"]} if isinstance(call.get("id"), str) else known)
    return calls


def _read_weight(where: str, item: dict[str, Any], note: Note) -> int:
    weight = item.get("weight", 1)
    allowed = "weight" not in item or item["role"] == "assistant"
    if not allowed or isinstance(weight, bool) or weight not in (0, 1):
        note(
            "invalid_weight",
            f"{where}: weight must be 0 or 1 and is allowed on assistant messages only.",
        )
        return 1
    return int(weight)
