"""The rendezvous store as a process. Imports torch: some seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent


def start(*arguments: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "shardwright_trainer.agent.store", "--port", "0", *arguments]
    return subprocess.Popen(command, cwd=PACKAGE, pass_fds=pass_fds)


def use(port: int) -> None:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    timeout = timedelta(seconds=5)
    TCPStore("127.0.0.1", port, is_master=False, timeout=timeout).set("g1/key", "value")
    # It lives on when its writer is gone.
    assert TCPStore("127.0.0.1", port, is_master=False, timeout=timeout).get("g1/key") == b"value"


def test_says_its_port_on_a_descriptor_and_ends_on_sigterm() -> None:
    reading, writing = os.pipe()
    process = start("--ready-fd", str(writing), pass_fds=(writing,))
    os.close(writing)
    with os.fdopen(reading) as file:
        ready = json.loads(file.readline())
    assert ready["pid"] == process.pid
    use(ready["port"])
    process.terminate()
    assert process.wait(10) == 0


def test_writes_a_ready_file(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    process = start("--ready-file", str(path))
    try:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert json.loads(path.read_text())["pid"] == process.pid
    finally:
        process.terminate()
    assert process.wait(10) == 0


def test_wants_to_know_where_to_say_it_is_ready() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            [sys.executable, "-m", "shardwright_trainer.agent.store"],
            cwd=PACKAGE,
            check=True,
            stderr=subprocess.DEVNULL,
        )
