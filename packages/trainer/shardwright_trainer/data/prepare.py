"""Training files → prepared rows in a content-addressed folder: `python -m shardwright_trainer.data.prepare`.

The agent runs it as a process of its own: a hostile template or file cannot stop the agent's beats, and a
limit on memory holds. Request on stdin `{"spec", "modelDirectory", "workDirectory"}`; on stdout JSON lines
`{"ratio", "detail"}` and at the end `{"directory"}` or `{"code", "sentence"}` (exit status 1).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shardwright_trainer.data.checks import check_count, check_masks, cut, fingerprint, warn_duplicates
from shardwright_trainer.data.complaints import Complaints
from shardwright_trainer.data.masks import Rendered, Renderer, learned_tokens
from shardwright_trainer.data.packing import Document, PreparedData, pack, write_prepared
from shardwright_trainer.data.records import Record, read_records
from shardwright_trainer.data.sources import Source, find_source, read_rows
from shardwright_trainer.data.template import Template, load_template
from shardwright_trainer.data.tokenizer import ModelTokenizer, context_tokens
from shardwright_trainer.rank.errors import UserError

# Part of the digest: another one makes every folder be prepared again.
PREPARE_VERSION = 1
ENCODE_BATCH = 256
# Rendering needs little; the limit is there to stop a template that doubles a string without end.
MEMORY_BYTES_MIN = 4 << 30

Progress = Callable[[float, str], None]
Prepared = tuple[list[Document], list[list[int]], list[str]]


def prepare(
    spec: Mapping[str, Any], model_directory: str, work_directory: str, progress: Progress
) -> PreparedData:
    """Prepared rows of `spec.data.train`, made once for all processes that share `work_directory`.

    spec: an expanded JobSpec. progress: takes (done ratio, detail). Raises UserError with all problems.
    """
    data = spec["data"]
    tokenizer = ModelTokenizer(model_directory)
    template = load_template(data["template"], model_directory, tokenizer)
    sources = {
        part: find_source(data[part]["source"], part) for part in ("train", "validation") if data[part]
    }
    limit = _limit(spec, model_directory)
    digest = _digest(spec, sources, template, limit)
    root = Path(work_directory) / "data"
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f"{digest}.lock"):
        target = root / digest
        if not target.is_dir():
            beside = Path(tempfile.mkdtemp(prefix=f"{digest}.", dir=root))
            try:
                documents, rows, warnings = _make(data, sources, template, limit, progress)
                facts = {
                    "digest": digest,
                    "examples": len(documents),
                    "warnings": warnings,
                    "template": template.to_object(data["mask"]),
                }
                write_prepared(beside, documents, rows, facts)
                beside.rename(target)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    progress(1.0, "ready")
    return PreparedData.open(target)


def _limit(spec: Mapping[str, Any], model_directory: str) -> int:
    """Longest document in tokens: the smallest limit anybody set."""
    packing = spec["data"]["packing"]
    limits = [
        context_tokens(model_directory),
        spec["data"]["truncation"]["maxTokens"],
        spec["train"]["maxLength"],
        None if packing is None else packing["length"],
    ]
    given = [int(limit) for limit in limits if limit is not None]
    if not given:
        raise UserError(
            "model_invalid", f"{model_directory}/config.json names no context length; set train.maxLength"
        )
    return min(given)


def _digest(spec: Mapping[str, Any], sources: Mapping[str, Source], template: Template, limit: int) -> str:
    data = spec["data"]
    content = {
        "version": PREPARE_VERSION,
        "files": {part: [_file_digest(path) for path in source.files] for part, source in sources.items()},
        "shapes": {part: source.shape for part, source in sources.items()},
        "template": template.to_object(data["mask"]),
        "tokens": template.tokenizer.named,
        "limit": limit,
        "rowsMax": {part: data[part]["rowsMax"] for part in sources},
        "options": {name: data[name] for name in ("format", "map", "packing", "truncation", "allowSmall")},
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(
    data: Mapping[str, Any],
    sources: Mapping[str, Source],
    template: Template,
    limit: int,
    progress: Progress,
) -> Prepared:
    # 1. Rows → records, every problem noted.
    progress(0.0, "reading")
    complaints = Complaints(data["train"]["source"])
    records = _read("train", sources, data, complaints)
    check_count(records, data["allowSmall"], complaints)
    # 2. Records → text → tokens with their masks.
    renderer = Renderer(template, data["mask"])
    rendered = _render(records, renderer, complaints, progress)
    complaints.raise_if_any()
    documents = _tokenise(records, rendered, template.tokenizer, progress)
    # 3. Refuse masks that teach nothing, cut what is too long.
    documents = cut(documents, limit, data["truncation"]["policy"], complaints)
    check_masks(documents, data["mask"], records, complaints)
    complaints.raise_if_any()
    # 4. Warnings that need the whole file.
    warn_duplicates(records, complaints)
    if "validation" in sources:
        _check_validation(records, sources, data, complaints)
    # 5. Documents → rows.
    packing = data["packing"]
    rows = pack([len(document.tokens) for document in documents], packing and int(packing["length"]))
    return documents, rows, complaints.warnings


def _read(
    part: str, sources: Mapping[str, Source], data: Mapping[str, Any], complaints: Complaints
) -> list[Record]:
    rows = read_rows(sources[part], complaints, data[part]["rowsMax"])
    return read_records(rows, data, sources[part].shape, complaints)


def _render(
    records: Sequence[Record], renderer: Renderer, complaints: Complaints, progress: Progress
) -> list[Rendered]:
    rendered = []
    for index, record in enumerate(records):
        token = renderer.forbidden_token(record)
        if token is not None:
            message = f"Example {record.example} message contains an invalid token: {token}."
            complaints.error("invalid_token", message, record.line, record.example)
            continue
        try:
            rendered.append(renderer.render(record))
        except UserError as error:
            if error.code == "template_invalid" and "chat template took" in error.sentence:
                raise
            message = f"Example {record.example}: {error.sentence}."
            complaints.error(error.code, message, record.line, record.example)
        if index % ENCODE_BATCH == 0:
            progress(0.5 * index / len(records), f"example {index + 1} of {len(records)}")
    return rendered


def _tokenise(
    records: Sequence[Record], rendered: Sequence[Rendered], tokenizer: ModelTokenizer, progress: Progress
) -> list[Document]:
    documents = []
    for begin in range(0, len(rendered), ENCODE_BATCH):
        batch = rendered[begin : begin + ENCODE_BATCH]
        for offset, encoded in enumerate(tokenizer.encode([one.text for one in batch])):
            documents.append(
                Document(
                    tokens=np.array(encoded.ids, np.int32),
                    learned=learned_tokens(encoded.starts, batch[offset].learned),
                    example_id=records[begin + offset].example,
                )
            )
        progress(0.5 + 0.5 * begin / len(rendered), f"example {begin + 1} of {len(rendered)}")
    return documents


def _check_validation(
    records: Sequence[Record], sources: Mapping[str, Source], data: Mapping[str, Any], complaints: Complaints
) -> None:
    others = Complaints(data["validation"]["source"])
    known = {fingerprint(record): record.example for record in reversed(records)}
    held_out = _read("validation", sources, data, others)
    others.raise_if_any()
    for record in held_out:
        example = known.get(fingerprint(record))
        if example is not None:
            complaints.warn(f"Validation example {record.example} is also training example {example}.")


def _limit_memory() -> None:
    """The process takes at most half of what is free: an allocation fails, the machine goes on."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = max(MEMORY_BYTES_MIN, free // 2)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Entry of the process; returns its exit status."""
    request = json.load(sys.stdin)
    _limit_memory()
    try:
        prepared = prepare(
            request["spec"],
            request["modelDirectory"],
            request["workDirectory"],
            lambda ratio, detail: _say({"ratio": ratio, "detail": detail}),
        )
    except UserError as error:
        _say({"code": error.code, "sentence": error.sentence})
        return 1
    except MemoryError:
        _say({"code": "out_of_memory", "sentence": "The data does not fit this machine's memory; use less."})
        return 1
    _say({"directory": prepared.directory})
    return 0


if __name__ == "__main__":
    sys.exit(main())
