"""Who may import what, seen in a fresh process each: torch costs seconds, gRPC has no place in a rank."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent
FOLDER = PACKAGE / "shardwright_trainer"


def modules_of(*parts: str) -> list[str]:
    found = []
    for part in parts:
        path = FOLDER / part
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            if file.name != "__init__.py":
                found.append(".".join(file.relative_to(PACKAGE).with_suffix("").parts))
    return found


def imported(modules: list[str]) -> set[str]:
    """Top-level packages that are loaded after importing all of these modules."""
    code = f"import {', '.join(modules)}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("part", ["data", "plan"])
def test_data_and_plan_need_no_torch(part: str) -> None:
    found = imported(modules_of(part))
    assert not found & {"torch", "transformers", "grpc"}


def test_the_agent_needs_no_torch() -> None:
    found = imported(modules_of("agent"))
    assert "grpc" in found and not found & {"torch", "transformers"}


def test_a_rank_needs_no_grpc() -> None:
    """Loads torch: a few seconds."""
    found = imported([*modules_of("rank"), "shardwright_trainer.report"])
    assert "torch" in found and "grpc" not in found


def test_a_rank_starts_without_torch() -> None:
    assert "torch" not in imported(["shardwright_trainer.rank.main"])
