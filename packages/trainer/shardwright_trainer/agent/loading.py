"""What a member does before its ranks can load: find the model, prepare the data, digest the frozen files."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardwright_trainer._proto.shardwright.v1 import agent_service_pb2 as agent
from shardwright_trainer.data.packing import PreparedData
from shardwright_trainer.files.gguf import resolve_model
from shardwright_trainer.plan.manifest import external_json
from shardwright_trainer.plan.schedule import steps_per_epoch, total_steps
from shardwright_trainer.rank.errors import UserError

# The sentence with all complaints of a data file comes in one line.
LINE_BYTES_MAX = 16 << 20

Progress = Callable[[str, float, str], None]
"""Takes (phase, done ratio, detail)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """Everything a rank needs besides the plan; the same for every member of the job."""

    model_directory: str
    data_directory: str
    facts: agent.DataFacts
    external_json: str
    template_json: str


async def gather_materials(load: agent.Load, progress: Progress) -> Materials:
    """Raises UserError for a model or data that cannot be used; its sentence names every problem."""
    spec = json.loads(load.spec_json)
    loop = asyncio.get_running_loop()

    def converting(detail: str, ratio: float) -> None:
        loop.call_soon_threadsafe(progress, "model", ratio, detail)

    try:
        model = await asyncio.to_thread(resolve_model, spec["model"]["source"], converting)
    except (ValueError, OSError) as error:
        raise UserError("model_invalid", str(error)) from error
    digests = asyncio.create_task(
        asyncio.to_thread(external_json, model, str(Path(load.work_directory) / "digests"))
    )
    try:
        directory = await _prepare(spec, model, load.work_directory, progress)
        prepared = await asyncio.to_thread(PreparedData.open, directory)
        return Materials(
            model_directory=model,
            data_directory=directory,
            facts=_facts(spec, prepared),
            external_json=await digests,
            template_json=json.dumps(prepared.template, sort_keys=True),
        )
    finally:
        digests.cancel()


async def _prepare(spec: dict[str, Any], model: str, work_directory: str, progress: Progress) -> str:
    """Runs data/prepare.py as a process; its memory and its time are not the agent's."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shardwright_trainer.data.prepare",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    assert process.stdin is not None and process.stdout is not None
    request = {"spec": spec, "modelDirectory": model, "workDirectory": work_directory}
    process.stdin.write(json.dumps(request).encode())
    process.stdin.close()
    answer: dict[str, Any] = {}
    try:
        while line := await process.stdout.readline():
            answer = json.loads(line)
            if "ratio" in answer:
                progress("data", answer["ratio"], answer["detail"])
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    if "sentence" in answer:
        raise UserError(answer["code"], answer["sentence"])
    if "directory" not in answer:
        raise UserError("data_failed", f"Data preparation ended with status {status} before it was done.")
    return str(answer["directory"])


def _facts(spec: dict[str, Any], prepared: PreparedData) -> agent.DataFacts:
    return agent.DataFacts(
        digest=prepared.digest,
        examples_count=prepared.examples,
        rows_count=prepared.rows,
        tokens_count=prepared.tokens,
        trained_tokens_count=prepared.trained_tokens,
        row_tokens_max=prepared.row_tokens_max,
        total_steps=total_steps(spec["train"], prepared.rows),
        steps_per_epoch=steps_per_epoch(prepared.rows, int(spec["train"]["batchSize"])),
        warnings=prepared.warnings,
    )
