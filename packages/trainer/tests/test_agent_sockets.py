"""Socket folders of killed agents are swept by the next one; those of living agents are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shardwright_trainer.agent import ranks

AGENT = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from shardwright_trainer.agent.ranks import RankServer
server = RankServer(lambda *_: False, lambda *_: None)
print(server.path, flush=True)
sys.stdin.read()
"""


def _agent(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip()).parent


def test_only_the_folders_of_the_dead_are_swept(tmp_path: Path) -> None:
    living, kept = _agent(tmp_path)
    killed, left = _agent(tmp_path)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)
        ranks.sweep_folders(tmp_path)
        assert kept.is_dir() and not left.exists()
    finally:
        living.kill()
        living.wait(10)


def test_a_folder_that_is_not_locked_yet_is_given_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    young, old = tmp_path / f"{ranks.FOLDER_PREFIX}young", tmp_path / f"{ranks.FOLDER_PREFIX}old"
    for folder in (young, old):
        folder.mkdir(mode=0o700)
    os.utime(old, (1, 1))
    ranks.sweep_folders(tmp_path)
    assert young.is_dir() and not old.exists()


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    other, target = tmp_path / "shardwright-e2e-x", tmp_path / "target"
    for folder in (other, target):
        folder.mkdir()
    link = tmp_path / f"{ranks.FOLDER_PREFIX}link"
    link.symlink_to(target)
    os.utime(target, (1, 1))
    ranks.sweep_folders(tmp_path)
    assert other.is_dir() and target.is_dir() and link.is_symlink()
