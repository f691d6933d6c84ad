"""The frozen files of a job: which weights it stands on, by SHA-256, as the commit record lists them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote

# What decides the base weights; everything else in the folder is about people or tokenizers.
_SUFFIXES = (".safetensors",)
_NAMES = ("config.json",)


def external_json(model_directory: str, cache_directory: str) -> str:
    """JSON array `[{"as", "type", "source", "files": {name: sha256}}]` of the base model.

    Digests are remembered in cache_directory by path, size and time of change: hashing takes a second for
    every GB. Raises OSError when a file cannot be read.
    """
    folder = Path(model_directory)
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file() and (path.suffix in _SUFFIXES or path.name in _NAMES)
    )
    files = {name: _digest(folder / name, Path(cache_directory)) for name in names}
    source = f"file://{quote(str(folder.resolve()))}"
    entry = {"as": "base", "type": "hf", "source": source, "files": files}
    return json.dumps([entry], sort_keys=True, separators=(",", ":"))


def _digest(path: Path, cache: Path) -> str:
    facts = path.stat()
    identity = json.dumps([str(path.resolve()), facts.st_size, facts.st_mtime_ns])
    remembered = cache / f"{hashlib.sha256(identity.encode()).hexdigest()}.sha256"
    if remembered.is_file():
        return remembered.read_text(encoding="ascii")
    with path.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    cache.mkdir(parents=True, exist_ok=True)
    beside = remembered.with_suffix(f".{os.getpid()}")
    beside.write_text(digest, encoding="ascii")
    beside.rename(remembered)
    return digest
