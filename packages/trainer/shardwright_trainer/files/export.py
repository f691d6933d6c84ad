"""Exports a committed checkpoint by a plan: `python -m shardwright_trainer.files.export --plan plan.json`.

The checkpoint-manager decides what is written under which name; this module carries it out to the letter: it
streams tensors out of verified packs, casts, merges, and refuses anything that is not whole. It writes into a
new folder that nobody looks at yet; whoever asked re-reads it and moves it into place.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shardwright_trainer.files.canonical_json import canonical_bytes
from shardwright_trainer.files.committed import Committed, open_committed
from shardwright_trainer.files.export_base import Base, open_base
from shardwright_trainer.files.export_plan import ExportPlan, parse_plan
from shardwright_trainer.files.export_tensors import (
    OutputTensor,
    adapter_tensors,
    full_tensors,
    merged_tensors,
)
from shardwright_trainer.files.export_write import (
    Receipt,
    file_digest,
    sync_folder,
    write_json,
    write_weights,
)
from shardwright_trainer.files.swc_errors import CheckpointError

REFUSED_EXIT = 3
Progress = Callable[[int, int], None]


def export(plan: ExportPlan, progress: Progress) -> None:
    """Writes every file of the export, export.json last. CheckpointError when it cannot be whole."""
    folder = Path(plan.output_directory)
    folder.mkdir(parents=True, exist_ok=True)
    # 1. What is written: every tensor with where its elements come from.
    committed = open_committed(plan.run_directory, plan.commit)
    base = None if plan.base is None else open_base(plan.base.directory, plan.base.files)
    tensors = _tensors(plan, committed, base)
    for name in sorted({tensor.source_file for tensor in tensors if tensor.source_file is not None}):
        if base is not None:
            base.check(name)
    # 2. The weights, streamed.
    receipt = Receipt()
    write_weights(folder, plan, tensors, receipt, progress)
    # 3. What belongs beside them.
    for name, value in plan.write.items():
        write_json(folder / name, value, receipt)
    for name in plan.copy:
        if base is not None and base.has(name):
            base.check(name)
            shutil.copyfile(base.path(name), folder / name)
            receipt.files[name] = file_digest(folder / name, sync=True)
    # 4. The receipt, by which everybody after us checks the rest.
    source = {**plan.source, "merge": plan.merge, "dtype": plan.dtype}
    note = {
        "swc": 1,
        "source": source,
        "format": plan.format,
        "tensors": receipt.tensors,
        "files": receipt.files,
    }
    (folder / "export.json").write_bytes(canonical_bytes(note))
    file_digest(folder / "export.json", sync=True)
    sync_folder(folder)


def _tensors(plan: ExportPlan, committed: Committed, base: Base | None) -> list[OutputTensor]:
    if plan.format == "peft":
        return adapter_tensors(plan, committed)
    if base is None:
        raise CheckpointError("SWC_EXPORT_REFUSED", "export: the plan names no base model")
    return merged_tensors(plan, committed, base) if plan.merge else full_tensors(plan, committed, base)


def main(arguments: list[str] | None = None) -> int:
    """Progress and refusals as JSON lines on standard output. Exit status 0, or 3 for a refusal."""
    parser = argparse.ArgumentParser(description="Export a committed checkpoint by a plan.")
    parser.add_argument("--plan", required=True, help="the plan, a JSON file")
    options = parser.parse_args(arguments)

    def say(event: dict[str, Any]) -> None:
        sys.stdout.write(f"{json.dumps(event)}\n")
        sys.stdout.flush()

    try:
        plan = parse_plan(Path(options.plan).read_bytes())
        export(plan, lambda done, total: say({"kind": "progress", "bytes_done": done, "bytes_total": total}))
    except CheckpointError as error:
        say({"kind": "refused", "code": error.code, "sentence": error.sentence})
        return REFUSED_EXIT
    except OSError as error:
        code = os.strerror(error.errno) if error.errno else str(error)
        say(
            {"kind": "refused", "code": "SWC_EXPORT_REFUSED", "sentence": f"export: {error.filename}: {code}"}
        )
        return REFUSED_EXIT
    say({"kind": "done"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
