"""Readers of training files against the vectors that the TypeScript reader is held to as well."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from shardwright_trainer.data.complaints import PROBLEMS_SHOWN_MAX, Complaints
from shardwright_trainer.data.records import Record, read_records
from shardwright_trainer.data.sources import LINE_BYTES_MAX, find_source, read_rows
from shardwright_trainer.rank.errors import UserError

VECTORS = json.loads(
    (Path(__file__).resolve().parents[3] / "test" / "contract" / "vectors" / "datasets.json").read_text()
)


def read(folder: Path, case: dict[str, Any]) -> tuple[list[Record], Complaints]:
    path = folder / case["file"]
    path.write_text(case["text"], encoding="utf-8", newline="")
    source = find_source(str(folder if case["mlx"] else path))
    complaints = Complaints(str(path))
    records = read_records(read_rows(source, complaints, None), case["data"], source.shape, complaints)
    return records, complaints


def plain(record: Record) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "messages": list(record.messages),
        "tools": list(record.tools),
        "fields": dict(record.fields),
        "mask": record.mask,
        "line": record.line,
        "example": record.example,
    }


@pytest.mark.parametrize("case", VECTORS["good"], ids=lambda case: case["name"])
def test_good_files(tmp_path: Path, case: dict[str, Any]) -> None:
    records, complaints = read(tmp_path, case)
    assert complaints.errors == []
    assert [plain(record) for record in records] == case["records"]


@pytest.mark.parametrize("case", VECTORS["bad"], ids=lambda case: case["name"])
def test_bad_files(tmp_path: Path, case: dict[str, Any]) -> None:
    _, complaints = read(tmp_path, case)
    found = [{"code": one.code, "message": one.message, "line": one.line} for one in complaints.errors]
    assert found == case["errors"]


def read_text(path: Path, text: str | bytes) -> Complaints:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    complaints = Complaints(str(path))
    source = find_source(str(path))
    data = {"format": "auto", "map": {}}
    read_records(read_rows(source, complaints, None), data, source.shape, complaints)
    return complaints


def test_sixty_problems_are_fifty_and_a_count(tmp_path: Path) -> None:
    good = '{"text": "a"}\n'
    complaints = read_text(tmp_path / "a.jsonl", good + "{\n" * 60)
    with pytest.raises(UserError) as caught:
        complaints.raise_if_any()
    lines = caught.value.sentence.splitlines()
    assert len(lines) == PROBLEMS_SHOWN_MAX + 1 and lines[-1] == "… and 10 more"
    assert lines[0].startswith(f"{tmp_path / 'a.jsonl'}:2: Example 2 cannot be parsed.")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    complaints = read_text(tmp_path / "a.jsonl", b'{"text": "a"}\n{"text": "\xc3\xa9\xff"}\n')
    assert [str(one) for one in complaints.errors] == [
        f"{tmp_path / 'a.jsonl'}:2: Line 2, column 12 is not valid UTF-8 text."
    ]


def test_a_line_that_is_too_long_is_an_error_not_a_crash(tmp_path: Path) -> None:
    """10 MB of one line, then a good one."""
    text = '{"text": "' + "x" * (10 << 20) + '"}\n{"text": "b"}\n'
    complaints = read_text(tmp_path / "a.jsonl", text)
    assert [one.message for one in complaints.errors] == [f"Line 1 is longer than {LINE_BYTES_MAX} bytes."]


def test_deep_nesting_and_random_bytes_never_crash(tmp_path: Path) -> None:
    assert read_text(tmp_path / "a.jsonl", "[" * 100_000).errors_count == 1
    assert read_text(tmp_path / "b.jsonl", '{"a":' * 100_000).errors_count == 1
    chance = random.Random(7)
    whole = json.dumps({"messages": [{"role": "user", "content": "é"}]}).encode()
    for number in range(300):
        noise = chance.randbytes(chance.randrange(80))
        cut = whole[: chance.randrange(len(whole))]
        for suffix in (".jsonl", ".json", ".csv", ".txt"):
            read_text(tmp_path / f"{number}{suffix}", chance.choice([noise, cut, cut + noise]))


@pytest.mark.parametrize(
    ("name", "code"),
    [("missing.jsonl", "file_not_found"), ("data.xlsx", "unknown_format"), ("empty", "unknown_format")],
)
def test_sources_that_cannot_be_read(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "data.xlsx").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        find_source(f"file://{tmp_path / name}")
    assert caught.value.code == code and str(tmp_path / name) in caught.value.sentence


def test_other_places_are_refused() -> None:
    with pytest.raises(UserError, match="expected a file:// URL"):
        find_source("s3://bucket/a.jsonl")
