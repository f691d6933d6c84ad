"""RFC 8785 canonical JSON, and a reader that accepts nothing else.

Every JSON object of a checkpoint is stored in its one canonical form, so that a flipped bit that happens to
keep the meaning ("1e-7" and "1E-7") is still seen.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import rfc8785


def canonical_bytes(value: Any) -> bytes:
    """The canonical form. ValueError for what has none: NaN, infinities, integers above 2**53 - 1."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from error


def sha256_name(data: bytes | memoryview) -> str:
    """ "sha256:<64 hex>" of these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def self_digest(value: dict[str, Any]) -> str:
    """Digest of an object without its `self` field."""
    return sha256_name(canonical_bytes({key: item for key, item in value.items() if key != "self"}))


def with_self(value: dict[str, Any]) -> dict[str, Any]:
    """The object with its `self` digest."""
    return {**value, "self": self_digest(value)}


def parse_canonical(data: bytes) -> Any:
    """The value that these bytes are the canonical form of; ValueError says why they are not."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_refuse)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if canonical_bytes(value) != data:
        raise ValueError("not in canonical form")
    return value


def parse_object(data: bytes) -> dict[str, Any]:
    """Like parse_canonical, for objects only."""
    value = parse_canonical(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("a key stands twice")
    return keys


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")
