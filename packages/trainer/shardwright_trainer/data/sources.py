"""Training files → rows with their line numbers. Nothing here knows what a row means (records.py does)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from shardwright_trainer.data.complaints import Complaints
from shardwright_trainer.data.json_rows import array_rows, parse_line
from shardwright_trainer.rank.errors import UserError

# A line is parsed in memory; no real example comes near this.
LINE_BYTES_MAX = 8 << 20
# The tokenised data is built in memory before it is written.
FILE_BYTES_MAX = 4 << 30
# Folders of text files: a mistaken path must not read a whole disk.
FOLDER_FILES_MAX = 100_000

_LINES = (".jsonl", ".json")
_TABLES = {".csv": ",", ".tsv": "\t"}
_TEXTS = (".txt", ".md")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """One row as it stands in the file. line and example count from 1; value is an object or a document."""

    line: int
    example: int
    value: dict[str, Any] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files to read, and the shape their place or name implies: "mlx", "tabular", "text" or None."""

    files: tuple[Path, ...]
    shape: str | None


def find_source(source: str, part: str = "train") -> Source:
    """The files of `source`, a file:// URL or a path. part: train, validation or test, for MLX folders.

    Raises UserError naming the path for anything that cannot be read.
    """
    path = _path_of(source)
    if path.is_dir():
        return _find_in_folder(path, part)
    if not path.is_file():
        raise UserError("file_not_found", f"{path}: there is no such file")
    if path.stat().st_size > FILE_BYTES_MAX:
        raise UserError("file_too_large", f"{path}: larger than {FILE_BYTES_MAX >> 30} GiB; split it")
    suffix = path.suffix.lower()
    if suffix in _LINES:
        return Source(files=(path,), shape=None)
    if suffix in _TABLES:
        return Source(files=(path,), shape="tabular")
    if suffix in _TEXTS:
        return Source(files=(path,), shape="text")
    known = " ".join([*_LINES, *_TABLES, *_TEXTS])
    raise UserError(
        "unknown_format", f"{path}: unknown extension {suffix!r}; expected one of {known} or a folder"
    )


def _path_of(source: str) -> Path:
    if "://" not in source:
        return Path(source)
    url = urlparse(source)
    if url.scheme != "file" or url.netloc not in {"", "localhost"}:
        raise UserError("unsupported_source", f"{source}: expected a file:// URL of this machine")
    return Path(unquote(url.path))


def _find_in_folder(folder: Path, part: str) -> Source:
    if (folder / "train.jsonl").is_file():
        name = {"train": "train.jsonl", "validation": "valid.jsonl", "test": "test.jsonl"}[part]
        if not (folder / name).is_file():
            raise UserError("file_not_found", f"{folder / name}: there is no such file")
        return Source(files=(folder / name,), shape="mlx")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _TEXTS and path.is_file())
    if not files:
        raise UserError(
            "unknown_format", f"{folder}: neither train.jsonl nor a .txt or .md file is in this folder"
        )
    if len(files) > FOLDER_FILES_MAX:
        raise UserError("file_too_large", f"{folder}: more than {FOLDER_FILES_MAX} text files")
    return Source(files=tuple(files), shape="text")


def read_rows(source: Source, complaints: Complaints, rows_max: int | None) -> Iterator[RawRow]:
    """Rows in file order, the first `rows_max` of them. What cannot be read is noted in `complaints`."""
    for example, (line, value) in enumerate(_values(source, complaints), start=1):
        if rows_max is not None and example > rows_max:
            return
        yield RawRow(line=line, example=example, value=value)


def _values(source: Source, complaints: Complaints) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for path in source.files:
        suffix = path.suffix.lower()
        if suffix in _TEXTS:
            text = _whole(path, complaints)
            if text is not None and text.strip():
                yield 1, text
        elif suffix in _TABLES:
            yield from _table_rows(path, _TABLES[suffix], complaints)
        elif _starts_array(path):
            complaints.warn(f"{path} is one JSON array, not JSON lines; it is read as such.")
            text = _whole(path, complaints)
            if text is not None:
                yield from array_rows(text, complaints)
        else:
            yield from _line_rows(path, complaints)


def _line_rows(path: Path, complaints: Complaints) -> Iterator[tuple[int, dict[str, Any]]]:
    blank: int | None = None
    for number, line in _lines(path, complaints):
        if not line.strip():
            blank = blank or number
            continue
        if blank is not None:
            complaints.warn(f"Line {blank} is blank and was skipped.")
            blank = None
        value = parse_line(line, number, complaints)
        if value is not None:
            yield number, value


def _lines(path: Path, complaints: Complaints) -> Iterator[tuple[int, str]]:
    """Decoded lines without their ends; an undecodable line is noted and left out."""
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if len(raw) > LINE_BYTES_MAX:
                complaints.error(
                    "line_too_long", f"Line {number} is longer than {LINE_BYTES_MAX} bytes.", number
                )
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(LINE_BYTES_MAX + 1)
                continue
            text = _decode(raw, number, complaints)
            if text is not None:
                yield number, text.rstrip("\r\n")


def _decode(raw: bytes, line: int, complaints: Complaints) -> str | None:
    try:
        text = raw.decode("utf-8")
        bad = text.find("\0")
    except UnicodeDecodeError as error:
        text, bad = "", len(raw[: error.start].decode("utf-8"))
    if bad < 0:
        return text
    complaints.error("invalid_encoding", f"Line {line}, column {bad + 1} is not valid UTF-8 text.", line)
    return None


def _starts_array(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _whole(path: Path, complaints: Complaints) -> str | None:
    lines = []
    wrong = complaints.errors_count
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            text = _decode(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, number, complaints)
            lines.append(text or "")
    return "".join(lines).replace("\r\n", "\n") if complaints.errors_count == wrong else None


def _table_rows(path: Path, delimiter: str, complaints: Complaints) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _whole(path, complaints)
    if text is None:
        return
    csv.field_size_limit(LINE_BYTES_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    begin = 1
    try:
        for cells in reader:
            if not cells or (header is not None and cells == [""]):
                begin = reader.line_num + 1
                continue
            if header is None:
                header = cells
                if len(set(header)) < len(header):
                    complaints.error("invalid_columns", f"Line {begin}: a column name comes twice.", begin)
                    return
            elif len(cells) != len(header):
                wrong = f"Line {begin} has {len(cells)} fields, the header has {len(header)}."
                complaints.error("invalid_columns", wrong, begin)
            else:
                yield begin, dict(zip(header, cells, strict=True))
            begin = reader.line_num + 1
    except csv.Error as error:
        complaints.error("invalid_columns", f"Line {reader.line_num}: {error}.", reader.line_num)
