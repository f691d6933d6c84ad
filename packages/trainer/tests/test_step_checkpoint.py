"""Staging and resuming through real files: another world size goes on with the same bits."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from files_checkpoint_run import RUN, SAVE_ID, commit_key, schema_of
from gang import RankFailure, RankPool, hashes, run_job, spread_map
from models import a_config, save_model

from shardwright_trainer.files.canonical_json import canonical_bytes, sha256_name, with_self
from shardwright_trainer.files.checkpoint import write_packs
from shardwright_trainer.plan.config import CheckpointSource, FreshSource, RankConfig, Staged

ROWS, STEPS, SAVED_AT = 41, 6, 3


@pytest.mark.parametrize("changes", [
    pytest.param({"method": "lora"}, id="lora"),
    pytest.param({"method": "full", "recipe": {"compute_dtype": "bf16", "wire_dtype": "bf16"}}, id="bf16"),
])  # fmt: skip
def test_resume_at_another_world_size(pool: RankPool, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = a_config(save_model(tmp_path / "model", "llama"), **changes)
    expected = run_job(pool, config, ROWS, 3, SAVED_AT)[0]
    staged = pool.each([0, 1, 2], "stage", SAVED_AT)
    key = _commit(tmp_path / "run", config, pool, staged)
    pool.each([0, 1, 2], "steps", SAVED_AT, STEPS)
    final = hashes(pool, [0, 1, 2])
    source = CheckpointSource(run_directory=str(tmp_path / "run"), commit=key, step=SAVED_AT)
    for world in (1, 4):
        members = list(range(world))
        pool.grow(world)
        pool.load(config, ROWS, members)
        block_map = spread_map(pool.ranks[0].ask("elements"), config.block_elements, world)
        evidence = pool.form(members, block_map, source, config.recipe.lanes)
        assert {one.version for one in evidence} == {SAVED_AT}
        assert hashes(pool, members) == expected
        pool.each(members, "steps", SAVED_AT, STEPS)
        assert hashes(pool, members) == final


def test_a_running_rank_goes_back_to_a_checkpoint_and_to_the_start(pool: RankPool, tmp_path: Path) -> None:
    """The only holder of a block died: the survivors replay, bit for bit, in the same processes."""
    config = a_config(save_model(tmp_path / "model", "qwen2"), method="full")
    run_job(pool, config, ROWS, 2, SAVED_AT)
    key = _commit(tmp_path / "run", config, pool, pool.each([0, 1], "stage", SAVED_AT))
    pool.each([0, 1], "steps", SAVED_AT, STEPS)
    final = hashes(pool, [0, 1])
    alone = spread_map(pool.ranks[0].ask("elements"), config.block_elements, 1)
    source = CheckpointSource(run_directory=str(tmp_path / "run"), commit=key, step=SAVED_AT)
    pool.form([0], alone, source, config.recipe.lanes)
    pool.ranks[0].ask("steps", SAVED_AT, STEPS)
    assert hashes(pool, [0]) == final
    pool.form([0], alone, FreshSource(), config.recipe.lanes)
    pool.ranks[0].ask("steps", 0, STEPS)
    assert hashes(pool, [0]) == final


def test_a_damaged_checkpoint_is_never_trained_on(pool: RankPool, tmp_path: Path) -> None:
    config = a_config(save_model(tmp_path / "model", "llama"))
    run_job(pool, config, ROWS, 1, 1)
    key = _commit(tmp_path / "run", config, pool, pool.each([0], "stage", 1))
    pack = next((tmp_path / "run" / "data").glob("*/*.safetensors"))
    content = bytearray(pack.read_bytes())
    content[-77] ^= 1
    pack.write_bytes(content)
    source = CheckpointSource(run_directory=str(tmp_path / "run"), commit=key, step=1)
    block_map = spread_map(pool.ranks[0].ask("elements"), config.block_elements, 1)
    with pytest.raises(RankFailure, match="SWC_"):
        pool.form([0], block_map, source, config.recipe.lanes)
    assert pool.ranks[0].ask("holding").generation == 0


def test_only_the_step_that_is_held_can_be_staged(pool: RankPool, tmp_path: Path) -> None:
    run_job(pool, a_config(save_model(tmp_path, "llama")), ROWS, 1, 1)
    with pytest.raises(RankFailure, match=r"StateError.*step 2 cannot be staged at version 1"):
        pool.ranks[0].ask("stage", 2)


def _commit(run: Path, config: RankConfig, pool: RankPool, staged: list[Staged]) -> str:
    """Writes what the ranks staged as a committed checkpoint, as the agent and the manager would."""
    layout = pool.ranks[0].ask("layout")
    schema = schema_of(layout, config.block_elements)
    step = staged[0].step
    key = commit_key(step)
    folder = run / "data" / f"{key}-{SAVE_ID}"
    for path in (folder, run / "schema", run / "commits"):
        path.mkdir(parents=True, exist_ok=True)
    schema_path = f"schema/{hashlib.sha256(schema).hexdigest()}.json"
    (run / schema_path).write_bytes(schema)
    writers = []
    for writer, one in enumerate(staged):
        assert os.path.getsize(one.path) == one.bytes
        prepared = write_packs(
            staged_path=one.path, index_json=one.index_json, schema_json=schema.decode(),
            directory=str(folder), writer=writer, incarnation=0, save_id=SAVE_ID,
            step=step, generation=1, crc_block_bytes=4096,
        )  # fmt: skip
        os.unlink(one.path)
        manifest = f"data/{folder.name}/{prepared.manifest_path}"
        writers.append(
            {"id": writer, "manifest": manifest, "sha256": prepared.manifest_sha256, "bytes": prepared.bytes}
        )
    record = {
        "swc": 1, "status": "committed", "requires": [], "run": RUN, "job": "test", "step": step,
        "generation": 1, "try": 0, "save_id": SAVE_ID, "parents": [],
        "created": "2026-11-23T12:30:01Z", "trigger": "periodic",
        "schema": {"path": schema_path, "sha256": sha256_name(schema), "tensors": len(layout.tensors)},
        "writers": writers, "optimizer": {"class": "adamw", "step": step, "groups": []},
    }  # fmt: skip
    (run / "commits" / f"{key}.json").write_bytes(canonical_bytes(with_self(record)))
    return key
