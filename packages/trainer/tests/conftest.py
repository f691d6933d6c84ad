"""What the tests of steps share: one pool of rank processes, one small model."""

from __future__ import annotations

import pytest
from gang import RankPool
from models import save_model
from step_pool import shared_pool


@pytest.fixture(scope="session")
def pool() -> RankPool:
    return shared_pool()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Directory of a tiny model of the llama family; nothing writes into it."""
    return save_model(tmp_path_factory.mktemp("model"), "llama")
