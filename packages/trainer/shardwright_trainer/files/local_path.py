"""Addresses of the control plane as paths of this machine."""

from __future__ import annotations

from urllib.parse import unquote


def local_path(address: str) -> str:
    """The path of a file:// address, percent-decoded; a plain path stays as it is."""
    return unquote(address.removeprefix("file://")) if address.startswith("file://") else address
