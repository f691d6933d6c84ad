"""Save at one world size, restore at another: the bytes are those that were staged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from shardwright_trainer.files.committed import open_committed
from shardwright_trainer.files.restore import ADAMW_KINDS, restore
from shardwright_trainer.files.swc_errors import CheckpointError
from shardwright_trainer.plan.config import BlockMap, FlatLayout
from tests.files_checkpoint_run import State, a_layout, a_map, a_state, commit


def striped(blocks: int, world: int) -> list[tuple[int, ...]]:
    return [(block * world // blocks,) for block in range(blocks)]


def check_all(run: Path, key: str, layout: FlatLayout, block_map: BlockMap, state: State) -> int:
    """Restores every rank of the map, compares every byte; returns the bytes read."""
    read = 0
    for rank in sorted({holder for run_ in block_map.runs for holder in run_.holders}):
        restored = restore(str(run), key, layout, block_map, rank)
        read += restored.bytes_read
        held = [
            b
            for r in block_map.runs
            if rank in r.holders
            for b in range(r.first_block, r.first_block + r.blocks)
        ]
        for kind in ADAMW_KINDS:
            assert sorted(restored.blocks[kind]) == held
            for block, array in restored.blocks[kind].items():
                begin = block * block_map.block_elements
                wanted = state[kind][begin : begin + block_map.block_elements]
                assert array.tobytes() == wanted.tobytes()
    return read


def test_two_writers_three_readers(tmp_path: Path) -> None:
    layout = a_layout((300, 7), (), (0, 4), (1025,), (64, 64))
    blocks = -(-layout.elements // 1024)
    state = a_state(layout.elements)
    key = commit(tmp_path, layout, a_map(layout.elements, 1024, striped(blocks, 2)), state)
    owners = [(b % 3, (b + 1) % 3) for b in range(blocks)]
    check_all(tmp_path, key, layout, a_map(layout.elements, 1024, owners), state)


def test_packs_are_ordinary_safetensors_files(tmp_path: Path) -> None:
    layout = a_layout((100,), (50, 40))
    state = a_state(layout.elements)
    key = commit(tmp_path, layout, a_map(layout.elements, 1024, striped(3, 1)), state)
    [pack] = list((tmp_path / "data").glob("*/*.safetensors"))
    tensors = load_file(str(pack))
    assert set(tensors) == {f"{k}/layer.{n}.weight@0" for k in ADAMW_KINDS for n in range(2)}
    np.testing.assert_array_equal(tensors["master/layer.1.weight@0"], state["master"][100:2100])
    assert open_committed(f"file://{tmp_path}", key).files[0].header.data_begin == 4096


def test_equal_tensors_of_another_step_give_an_identical_pack(tmp_path: Path) -> None:
    layout = a_layout((100, 20))
    state = a_state(layout.elements)
    block_map = a_map(layout.elements, 512, striped(4, 1))
    commit(tmp_path, layout, block_map, state, step=10)
    commit(tmp_path, layout, block_map, state, step=20)
    first, second = sorted((tmp_path / "data").glob("*/*.safetensors"))
    assert first.read_bytes() == second.read_bytes()


def test_packs_are_split_at_block_borders(tmp_path: Path) -> None:
    layout = a_layout((5000,), (3,))
    state = a_state(layout.elements)
    block_map = a_map(layout.elements, 256, striped(20, 1))
    key = commit(tmp_path, layout, block_map, state, pack_bytes_max=4096)
    assert len(list((tmp_path / "data").glob("*/*.safetensors"))) > 10
    check_all(tmp_path, key, layout, block_map, state)


def test_whole_blocks_are_read_without_waste(tmp_path: Path) -> None:
    block = 64 * 1024
    layout = a_layout((16 * block,))
    state = a_state(layout.elements)
    key = commit(tmp_path, layout, a_map(layout.elements, block, striped(16, 3)), state, crc_block=65536)
    needed = 3 * 4 * layout.elements
    contiguous = a_map(layout.elements, block, striped(16, 5))
    scattered = a_map(layout.elements, block, [(b % 4,) for b in range(16)])
    assert check_all(tmp_path, key, layout, contiguous, state) == needed
    assert check_all(tmp_path, key, layout, scattered, state) == needed


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_world_any_map(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    run = tmp_path_factory.mktemp("run")
    shapes = data.draw(
        st.lists(st.lists(st.integers(0, 40), max_size=2).map(tuple), min_size=1, max_size=6), label="shapes"
    )
    layout = a_layout(*shapes)
    if layout.elements == 0:
        return
    save_block, load_block = (
        data.draw(st.sampled_from([16, 64, 256])),
        data.draw(st.sampled_from([16, 64, 256])),
    )
    save_blocks, load_blocks = -(-layout.elements // save_block), -(-layout.elements // load_block)
    writers = data.draw(st.lists(st.integers(0, 7), min_size=save_blocks, max_size=save_blocks))
    holders = data.draw(
        st.lists(
            st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True),
            min_size=load_blocks,
            max_size=load_blocks,
        )
    )
    state = a_state(layout.elements, seed=data.draw(st.integers(0, 1000)))
    key = commit(run, layout, a_map(layout.elements, save_block, [(w,) for w in writers]), state)
    check_all(run, key, layout, a_map(layout.elements, load_block, [tuple(h) for h in holders]), state)


def test_other_names_are_refused_with_a_diff(tmp_path: Path) -> None:
    layout = a_layout((10, 10), (20,), names=["a", "b"])
    block_map = a_map(120, 64, [(0,), (0,)])
    key = commit(tmp_path, layout, block_map, a_state(120))
    other = a_layout((10, 10), (20,), names=["a", "c"])
    with pytest.raises(
        CheckpointError, match=r"SWC_SCHEMA_MISMATCH: 2 tensors differ: \+ \[c\] - \[b\] ~ \[\]"
    ):
        restore(str(tmp_path), key, other, block_map, 0)
    reshaped = a_layout((20, 5), (20,), names=["a", "b"])
    with pytest.raises(CheckpointError, match=r"1 tensors differ: \+ \[\] - \[\] ~ \[a\]"):
        restore(str(tmp_path), key, reshaped, block_map, 0)


def test_saving_and_restoring_never_import_torch() -> None:
    code = (
        "import sys; import shardwright_trainer.files.checkpoint, shardwright_trainer.files.restore, "
        "shardwright_trainer.files.export; assert 'torch' not in sys.modules and 'grpc' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
