"""Owned blocks copied out of a rank at a step boundary, into a file of a memory file system."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

from shardwright_trainer.blocks.state import KINDS, BlockState
from shardwright_trainer.files.checkpoint import stage_blocks
from shardwright_trainer.files.swc_errors import SaveError
from shardwright_trainer.plan.config import GenerationPlan, RankConfig, Staged
from shardwright_trainer.rank.errors import StateError

MEMORY_FOLDER = "/dev/shm"
STAGED_PREFIX = "SHARDWRIGHT_STAGED_PREFIX"
"""Environment variable: the beginning of this member's staged files, so that its successor finds them."""


def stage_owned(
    state: BlockState, plan: GenerationPlan, step: int, trigger: str, config: RankConfig
) -> Staged | None:
    """One file with master, exp_avg and exp_avg_sq of the owned blocks; None when nothing is owned.

    Written to memory, or to the work folder when memory is full. The agent owns and deletes the file.
    StateError when neither can take it.
    """
    owned = state.held.owned
    if not owned:
        return None
    arrays = {kind: {block: getattr(state, kind)[block].cpu().numpy() for block in owned} for kind in KINDS}
    prefix = os.environ.get(STAGED_PREFIX, f"shardwright-{config.job_name}")
    name = f"{prefix}-{step}-{plan.generation}-{plan.rank}-{uuid.uuid4().hex[:8]}.staged"
    failures: list[str] = []
    for folder in _folders(config.work_directory):
        path = str(folder / name)
        try:
            index_json, size = stage_blocks(
                path, arrays, elements=plan.block_map.elements, block_elements=plan.block_map.block_elements
            )
        except SaveError as error:
            failures.append(str(error))
            if error.code not in {errno.errorcode[errno.ENOSPC], errno.errorcode[errno.EACCES]}:
                break
            continue
        return Staged(step=step, trigger=trigger, path=path, index_json=index_json, bytes=size)
    raise StateError("StageFailed", f"the blocks of step {step} could not be staged: {'; '.join(failures)}")


def _folders(work_directory: str) -> list[Path]:
    memory = Path(MEMORY_FOLDER)
    work = Path(work_directory)
    return [memory, work] if memory.is_dir() and os.access(memory, os.W_OK) else [work]
