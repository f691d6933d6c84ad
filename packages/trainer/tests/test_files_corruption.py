"""No wrong byte is ever restored, and a failing disk is reported as what it is."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardwright_trainer.files import checkpoint
from shardwright_trainer.files.canonical_json import canonical_bytes, with_self
from shardwright_trainer.files.checkpoint import stage_blocks, write_packs
from shardwright_trainer.files.crc import as_bytes, crc32c
from shardwright_trainer.files.restore import ADAMW_KINDS, RestoredState, restore
from shardwright_trainer.files.safetensors_header import header_length, parse_header
from shardwright_trainer.files.swc_errors import CheckpointError, SaveError
from shardwright_trainer.plan.config import BlockMap
from tests.files_checkpoint_run import KINDS, SAVE_ID, a_layout, a_map, a_state, commit, schema_of

LAYOUT = a_layout((10, 10), (200,))
STATE = a_state(300)
WRITERS = a_map(300, 64, [(0,), (0,), (1,), (1,), (1,)])


def load(run: Path, key: str, readers: BlockMap | None = None) -> str:
    """ "same", "different", or the code of the refusal; anything else that is raised is a bug."""
    readers = readers or a_map(300, 64, [(0,)] * 5)
    try:
        restored = restore(str(run), key, LAYOUT, readers, 0)
    except CheckpointError as error:
        return error.code
    return "same" if equal(restored, 64) else "different"


def equal(restored: RestoredState, size: int) -> bool:
    return all(
        array.tobytes() == STATE[kind][block * size : (block + 1) * size].tobytes()
        for kind in ADAMW_KINDS
        for block, array in restored.blocks[kind].items()
    )


def test_every_byte_of_every_file_matters(tmp_path: Path) -> None:
    """A few thousand restores; above a second."""
    key = commit(tmp_path, LAYOUT, WRITERS, STATE)
    trials = 0
    for path in sorted(tmp_path.rglob("*.*")):
        if not path.is_file():
            continue
        good = path.read_bytes()
        for at in range(0, len(good), 7 if path.suffix == ".safetensors" else 1):
            bad = bytearray(good)
            bad[at] ^= 1 << (at % 8)
            path.write_bytes(bad)
            outcome = load(tmp_path, key)
            assert outcome.startswith("SWC_"), f"{path.name}@{at}: {outcome}"
            trials += 1
        path.write_bytes(good)
    assert trials > 5000
    assert load(tmp_path, key) == "same"


def test_a_damaged_block_hurts_only_who_needs_it(tmp_path: Path) -> None:
    block = 16 * 1024
    layout, state = a_layout((8 * block,)), a_state(8 * block)
    key = commit(tmp_path, layout, a_map(8 * block, block, [(0,)] * 8), state, crc_block=65536)
    [pack] = (tmp_path / "data").glob("*/*.safetensors")
    bad = bytearray(pack.read_bytes())
    bad[65536 + 3] ^= 1  # exp_avg of block 0
    pack.write_bytes(bad)
    readers = a_map(8 * block, block, [(0,)] * 4 + [(1,)] * 4)
    with pytest.raises(
        CheckpointError, match=r"CRC block 1 \(bytes 65536\.\.131072\).*affects exp_avg/layer\.0\.weight@0"
    ):
        restore(str(tmp_path), key, layout, readers, 0)
    restored = restore(str(tmp_path), key, layout, readers, 1)
    assert restored.blocks["master"][7].tobytes() == state["master"][7 * block :].tobytes()


@pytest.mark.parametrize("cut", [None, 0, 1, 4096, -1, "longer"])
def test_missing_cut_and_longer_files_are_refused(tmp_path: Path, cut: Any) -> None:
    key = commit(tmp_path, LAYOUT, WRITERS, STATE)
    for path in sorted(item for item in tmp_path.rglob("*.*") if item.is_file()):
        good = path.read_bytes()
        bad = good + b"\0" if cut == "longer" else None if cut is None else good[:cut]
        path.unlink()
        if bad is not None:
            if bad == good:
                path.write_bytes(good)
                continue
            path.write_bytes(bad)
        assert load(tmp_path, key).startswith("SWC_"), path.name
        path.write_bytes(good)


def test_swapped_shards_and_withdrawn_commits_are_refused(tmp_path: Path) -> None:
    key = commit(tmp_path, LAYOUT, WRITERS, STATE)
    for ending in (".000-00.safetensors", ".000-00.crc", ".000.json"):
        one, other = (next((tmp_path / "data").glob(f"*/w0000{n}{ending}")) for n in (0, 1))
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
        assert load(tmp_path, key).startswith("SWC_")
        one.write_bytes(first)
        other.write_bytes(second)
    for folder, code in (("tombstones", "SWC_NO_CHECKPOINT"), ("quarantine", "SWC_QUARANTINED")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{key}.json").write_text("{}")
        assert load(tmp_path, key) == code
        (tmp_path / folder / f"{key}.json").unlink()


def test_resealed_records_that_ask_for_more_or_lie_are_refused(tmp_path: Path) -> None:
    key = commit(tmp_path, LAYOUT, WRITERS, STATE)
    path = tmp_path / "commits" / f"{key}.json"
    record = json.loads(path.read_bytes())

    def outcome(**change: Any) -> str:
        changed = {name: value for name, value in {**record, **change}.items() if name != "self"}
        path.write_bytes(canonical_bytes(with_self(changed)))
        return load(tmp_path, key)

    assert outcome() == "same"
    assert outcome(requires=["box"]) == "SWC_UNKNOWN_FEATURE"
    assert outcome(swc=2) == "SWC_UNSUPPORTED_VERSION"
    assert outcome(status="aborted") == "SWC_NO_CHECKPOINT"
    assert outcome(step=11) == "SWC_BAD_RECORD"
    assert outcome(writers=record["writers"][:1]) == "SWC_COVERAGE"
    assert outcome(writers=record["writers"] + record["writers"][:1]) == "SWC_COVERAGE"
    outside = [{**record["writers"][0], "manifest": "data/../../../etc/passwd"}]
    assert outcome(writers=outside) == "SWC_BAD_RECORD"


def test_a_link_out_of_the_run_is_not_followed(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    key = commit(run, LAYOUT, WRITERS, STATE)
    outside.mkdir()
    pack = next((run / "data").glob("*/w00000.000-00.safetensors"))
    pack.rename(outside / "pack")
    pack.symlink_to(outside / "pack")
    assert load(run, key) == "SWC_BAD_RECORD"


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("text", "data", "why"),
    [
        (json.dumps({"a": ENTRY, "b": {**ENTRY, "data_offsets": [8, 12]}}), 12, "hole"),
        (json.dumps({"a": ENTRY, "b": {**ENTRY, "data_offsets": [2, 6]}}), 6, "overlap"),
        (json.dumps({"a": {**ENTRY, "data_offsets": [-4, 0]}}), 4, "natural"),
        (json.dumps({"a": {**ENTRY, "shape": [-1]}}), 4, "natural"),
        (json.dumps({"a": {**ENTRY, "shape": [True]}}), 4, "natural"),
        (json.dumps({"a": {**ENTRY, "shape": [2**40, 2**40], "data_offsets": [0, 0]}}), 0, "its shape needs"),
        (json.dumps({"a": {**ENTRY, "data_offsets": [0, 10**20]}}), 4, "natural"),
        (f'{{"a":{json.dumps(ENTRY)},"a":{json.dumps(ENTRY)}}}', 4, "twice"),
        (json.dumps({"a": {**ENTRY, "dtype": "F3"}}), 4, "dtype"),
        (json.dumps({"a": ENTRY}), 5, "the file at"),
        ("[" * 100_000, 0, "start"),
        ('{"a":' + "[" * 100_000, 0, "JSON"),
        ('{"__metadata__":{"a":1}}', 0, "map of strings"),
    ],
)  # fmt: skip
def test_hostile_headers(text: str, data: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_header(text.encode(), 8 + len(text) + data)


def test_a_huge_header_length_is_refused_before_it_is_read() -> None:
    for length in (0, 1, 93, 100_000_001, 2**63, 2**64 - 1):
        with pytest.raises(ValueError, match="header length"):
            header_length(length.to_bytes(8, "little"), 100)
    assert header_length((92).to_bytes(8, "little"), 100) == 92


def test_crc_vectors() -> None:
    vectors = [
        (b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E), (bytes(65_536), 0x72C0C4A4), (bytes(262_144), 0xF032BCF3),
    ]  # fmt: skip
    for data, expected in vectors:
        assert crc32c(as_bytes(data) if data else np.zeros(0, np.uint8)) == expected


def staged(tmp: Path) -> tuple[str, str]:
    blocks = {
        kind: {b: np.resize(STATE[kind][b * 64 : (b + 1) * 64], 64) for b in range(5)} for kind in KINDS
    }
    path = str(tmp / "staged")
    index, size = stage_blocks(path, blocks, elements=300, block_elements=64)
    assert size == 3 * 4 * 300 == os.path.getsize(path)
    return path, index


def pack(tmp: Path, path: str, index: str, **over: Any) -> checkpoint.PreparedManifest:
    order: dict[str, Any] = {
        "staged_path": path, "index_json": index, "schema_json": schema_of(LAYOUT, 64).decode(),
        "directory": str(tmp / "save"), "writer": 0, "incarnation": 0, "save_id": SAVE_ID, "step": 1,
        "generation": 1, "crc_block_bytes": 4096,
    }  # fmt: skip
    (tmp / "save").mkdir(exist_ok=True)
    return write_packs(**{**order, **over})


def test_staged_bytes_that_changed_are_not_written(tmp_path: Path) -> None:
    path, index = staged(tmp_path)
    with open(path, "r+b") as file:
        file.seek(700)
        file.write(b"\x55")
    with pytest.raises(SaveError, match="SWC_CORRUPT_BLOCK"):
        pack(tmp_path, path, index)
    with pytest.raises(SaveError, match="SWC_SIZE_MISMATCH"):
        os.truncate(path, 100)
        pack(tmp_path, path, index)
    with pytest.raises(SaveError, match="ENOENT"):
        pack(tmp_path, str(tmp_path / "gone"), index)


def test_an_incarnation_is_never_written_twice(tmp_path: Path) -> None:
    path, index = staged(tmp_path)
    first = pack(tmp_path, path, index)
    with pytest.raises(SaveError) as caught:
        pack(tmp_path, path, index)
    assert caught.value.code == "EEXIST"
    second = pack(tmp_path, path, index, incarnation=1)
    assert (first.manifest_path, second.manifest_path) == ("w00000.000.json", "w00000.001.json")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_every_failing_call_ends_the_incarnation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """The n-th call fails, n = 1, 2, … until a run passes; nothing is deleted or synced again after it."""
    path, index = staged(tmp_path)
    real = getattr(os, call)
    attempts = 0
    while True:
        folder = tmp_path / f"{attempts}"
        folder.mkdir()
        calls: list[str] = []

        def failing(*arguments: Any, calls: list[str] = calls, fail_at: int = attempts, **named: Any) -> Any:
            calls.append(call)
            if len(calls) == fail_at + 1:
                raise OSError(code, os.strerror(code))
            return real(*arguments, **named)

        monkeypatch.setattr(os, call, failing)
        try:
            pack(folder, path, index)
        except SaveError as error:
            assert error.code == errno.errorcode[code]
            assert len(calls) == attempts + 1, "went on after the failure"
            monkeypatch.undo()
            attempts += 1
            continue
        monkeypatch.undo()
        break
    assert attempts >= 3


def test_a_full_memory_file_system_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(SaveError) as caught:
        stage_blocks(
            str(tmp_path / "s"), {"master": {0: np.zeros(4, np.float32)}}, elements=4, block_elements=4
        )
    assert caught.value.code == "ENOSPC"
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from tests.files_checkpoint_run import *
from tests.test_files_corruption import LAYOUT, staged, pack
tmp = Path(sys.argv[1])
path, index = staged(tmp)
print("ready", flush=True)
for incarnation in range(100000):
    pack(tmp, path, index, incarnation=incarnation)
    print(incarnation, flush=True)
"""


def test_sigkill_of_a_writer_leaves_whole_incarnations(tmp_path: Path) -> None:
    """A manifest that exists is whole, and so is every file it names; several kills at chance moments."""
    for trial in range(6):
        folder = tmp_path / str(trial)
        folder.mkdir()
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.013 * trial)
        child.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in child.stdout.read().split()]
        child.wait()
        manifests = sorted((folder / "save").glob("w*.json"))
        assert len(manifests) >= len(acknowledged)
        for manifest in manifests[: len(acknowledged)]:
            value = json.loads(manifest.read_bytes())
            assert with_self({k: v for k, v in value.items() if k != "self"}) == value
            for file in value["files"]:
                assert (folder / "save" / file["path"]).stat().st_size == file["bytes"]
