"""An engine without torch for tests of agent and loop: its "collective" is a folder in which ranks meet.

State is one number, the sum of the steps taken: a step applied twice or skipped is seen in it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shardwright_trainer.data.packing import PreparedData
from shardwright_trainer.files.checkpoint import stage_blocks, stage_into
from shardwright_trainer.files.snapshot_memory import memory_name, new_memory
from shardwright_trainer.plan.config import (
    CheckpointSource,
    Evidence,
    FlatLayout,
    FlatTensor,
    FreshSource,
    GenerationPlan,
    Holding,
    LaneOutcome,
    LiveSource,
    RankConfig,
    Snapshot,
    SnapshotSource,
    Staged,
    StepOutcome,
)
from shardwright_trainer.rank.errors import PeerLost, StateError, UserError

STEP_SECONDS = 0.03
ELEMENTS = 4


class FakeEngine:
    """Stands in for rank/step.py; see its Engine for what each method promises."""

    def __init__(self, config: RankConfig, data: PreparedData, report: Callable[[str, float], None]) -> None:
        if config.spec["train"]["seed"] == 666:
            raise UserError("BadModel", "The model of this test cannot be loaded.")
        report("model", 0.0)
        self._config = config
        self._data = data
        self._report = report
        self._plan: GenerationPlan | None = None
        self._candidate: GenerationPlan | None = None
        self._version = 0
        self._history: list[StepOutcome] = []
        tensor = FlatTensor(fqn="w", shape=(ELEMENTS,), begin=0, end=ELEMENTS)
        self.layout = FlatLayout(tensors=(tensor,), elements=ELEMENTS, fingerprint="f" * 64)
        self.recipe_sha256 = "r" * 64
        self.lora_json = ""
        report("model", 1.0)

    def holding(self) -> Holding:
        if self._plan is None:
            return Holding(generation=0, rank=0, version=0, pending=False)
        plan = self._plan
        return Holding(generation=plan.generation, rank=plan.rank, version=self._version, pending=False)

    def connect(self, plan: GenerationPlan, check: Callable[[], None]) -> None:
        self._mark(plan, f"pid-{plan.rank}", str(os.getpid()))
        self._candidate = plan
        self._meet(plan, "connect")

    def adopt(self, plan: GenerationPlan) -> Evidence:
        match plan.source:
            case FreshSource():
                self._version = 0
            case LiveSource(target_version=version):
                if self._plan is not None and self._version != version:
                    raise StateError("VersionUnreachable", f"at {self._version}, wanted {version}")
                self._version = version
            case CheckpointSource(step=step) | SnapshotSource(step=step):
                self._version = step
        self._meet(plan, "adopt")
        return Evidence(
            owned_blocks=1,
            replica_blocks=0,
            optimizer_bytes=48,
            received_bytes=0,
            sent_bytes=0,
            version=self._version,
            owned_crc32c=self._version,
        )

    def commit(self, plan: GenerationPlan) -> None:
        assert self._candidate is not None and self._candidate.generation == plan.generation
        self._plan = plan

    def discard(self, plan: GenerationPlan) -> None:
        self._mark(plan, "left", "")

    def take_step(self, step: int) -> StepOutcome:
        plan = self._plan
        assert plan is not None and step == self._version
        self._report("lanes", 0.0)
        time.sleep(STEP_SECONDS)
        self._meet(plan, f"step-{step}")
        self._version = step + 1
        lane = LaneOutcome(
            lane=plan.rank, loss_sum=1.0, example_ids=(step,), trained_tokens=1, processed_tokens=2
        )
        outcome = StepOutcome(
            step=step + 1,
            lanes=(lane,),
            loss=1.0 / (step + 1),
            grad_norm=1.0,
            learning_rate=0.1,
            seconds=STEP_SECONDS,
            sections={"reduce": 0.01},
            sent_bytes=8,
        )
        self._history.append(outcome)
        return outcome

    def outcomes_since(self, step: int) -> list[StepOutcome]:
        return [outcome for outcome in self._history[-8:] if outcome.step > step]

    def stage(self, step: int, trigger: str) -> Staged | None:
        assert step == self._version and self._plan is not None
        path = str(Path(self._config.work_directory) / f"{os.getpid()}-{self._plan.generation}-{step}.staged")
        block = bytes(4 * ELEMENTS)
        kinds = {"master": {0: block}, "exp_avg": {0: block}, "exp_avg_sq": {0: block}}
        index_json, size = stage_blocks(path, kinds, elements=ELEMENTS, block_elements=ELEMENTS)
        return Staged(step=step, trigger=trigger, path=path, index_json=index_json, bytes=size)

    def snapshot(self, step: int) -> Snapshot:
        plan = self._plan
        assert step == self._version and plan is not None
        block = np.full(ELEMENTS, step, dtype="<f4")
        kinds = {"master": {0: block}, "exp_avg": {0: block}, "exp_avg_sq": {0: block}}
        with new_memory(memory_name(plan.generation, step, plan.rank)) as descriptor:
            index_json, size = stage_into(descriptor, kinds, elements=ELEMENTS, block_elements=ELEMENTS)
        return Snapshot(
            generation=plan.generation, step=step, rank=plan.rank, index_json=index_json, bytes=size,
            path=f"/proc/{os.getpid()}/fd/{descriptor}", recipe_sha256=self.recipe_sha256, complete_step=0,
        )  # fmt: skip

    def close(self) -> None:
        if self._plan is not None:
            self._mark(self._plan, "left", "")

    def _mark(self, plan: GenerationPlan, name: str, text: str) -> None:
        folder = Path(self._config.work_directory) / "meet" / plan.store_prefix.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    def _meet(self, plan: GenerationPlan, name: str) -> None:
        """Returns when all ranks of the generation came here; PeerLost when one left or died."""
        self._mark(plan, f"{name}-{plan.rank}", "")
        folder = Path(self._config.work_directory) / "meet" / plan.store_prefix.strip("/")
        deadline = time.monotonic() + plan.collective_timeout_seconds
        while not all((folder / f"{name}-{rank}").exists() for rank in range(plan.world_size)):
            if (folder / "left").exists() or time.monotonic() > deadline:
                raise PeerLost(f"{name}: a peer left")
            if any(not _alive(folder / f"pid-{rank}") for rank in range(plan.world_size)):
                raise PeerLost(f"{name}: a peer died")
            time.sleep(0.002)


def _alive(path: Path) -> bool:
    if not path.exists() or not (text := path.read_text()):
        return True
    try:
        state = Path(f"/proc/{int(text)}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in {"Z", "X"}


def schema_json() -> str:
    """The SWC/1 schema of this engine's state."""
    kinds = {name: {"dtype": "F32", "numel": "same"} for name in ("master", "exp_avg", "exp_avg_sq")}
    section = {
        "id": 0,
        "numel": ELEMENTS,
        "first_block": 0,
        "blocks": 1,
        "quantum": 1,
        "optimizer": "adamw",
        "kinds": kinds,
    }
    tensor = {"fqn": "w", "shape": [ELEMENTS], "section": 0, "start": 0, "group": 0, "aliases": []}
    content = {
        "swc": 1,
        "order": "swc-order-1",
        "block_elems": ELEMENTS,
        "requires": [],
        "sections": [section],
        "tensors": [tensor],
        "aux": [],
        "frozen": [],
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
