"""What a model folder must look like before anything is loaded from it: safetensors only, whole, no code."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from shardwright_trainer.files.safetensors_header import header_length, parse_header
from shardwright_trainer.rank.errors import UserError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
CONFIG_BYTES_MAX = 1 << 20
"""A config.json is a few KB; a larger one is not one."""
INDEX_BYTES_MAX = 64 << 20


def check_model_directory(directory: str, architectures: Collection[str]) -> dict[str, Any]:
    """The folder's config.json. UserError names what is wrong: file, expected, what to do."""
    folder = Path(directory)
    if not folder.is_dir():
        raise UserError("ModelMissing", f"the model folder {directory} does not exist")
    settings = _read_json(folder / "config.json", CONFIG_BYTES_MAX)
    _refuse_code(settings, folder)
    model_type = settings.get("model_type")
    if model_type not in architectures:
        raise UserError(
            "ModelUnsupported",
            f"{folder / 'config.json'}: model_type {model_type!r}; known {', '.join(sorted(architectures))}",
        )
    for path in weight_files(directory):
        check_safetensors(path)
    return settings


def weight_files(directory: str) -> list[Path]:
    """The safetensors files the model's weights are in, sorted by name."""
    folder = Path(directory)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        table = _read_json(index, INDEX_BYTES_MAX).get("weight_map")
        if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
            raise UserError("ModelUnreadable", f"{index}: weight_map must map tensor names to file names")
        names = sorted(set(table.values()))
        outside = [name for name in names if "/" in name or "\\" in name or not name.endswith(".safetensors")]
        if outside:
            raise UserError(
                "ModelUnreadable", f"{index}: {outside[0]!r} is not a safetensors file of this folder"
            )
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise UserError("ModelUnreadable", f"{index} names {missing[0]}, which is not in the folder")
        return [folder / name for name in names]
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise UserError(
            "ModelIsPickle",
            f"{folder / pickles[0]} is a pickle, which can run code when it is read, and is refused; "
            "convert the model to safetensors (save_pretrained writes it)",
        )
    raise UserError(
        "ModelMissing", f"{directory} has no model.safetensors and no model.safetensors.index.json"
    )


def check_safetensors(path: Path) -> None:
    """UserError unless the file's header describes exactly the bytes that follow it."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = header_length(file.read(8), size)
            parse_header(file.read(length), size)
    except ValueError as error:
        raise UserError(
            "ModelUnreadable", f"{path} is damaged or cut short: {error}; fetch the file again"
        ) from error


def _read_json(path: Path, bytes_max: int) -> dict[str, Any]:
    if not path.is_file():
        raise UserError("ModelMissing", f"{path} does not exist")
    if path.stat().st_size > bytes_max:
        raise UserError(
            "ModelUnreadable", f"{path} has {path.stat().st_size} bytes, expected at most {bytes_max}"
        )
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError("ModelUnreadable", f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError("ModelUnreadable", f"{path} is not a JSON object")
    return value


def _refuse_code(settings: dict[str, Any], folder: Path) -> None:
    if "auto_map" in settings:
        raise UserError(
            "ModelNeedsCode",
            f"{folder / 'config.json'} has auto_map: it wants code from the model folder, which is never run",
        )
