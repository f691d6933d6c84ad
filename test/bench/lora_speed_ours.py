"""Our side of lora_speed.py: two ranks of one thread each, the exact step over gloo, on the same rows."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

RANKS = 2
BLOCK_ELEMENTS = 8192


@dataclass(frozen=True, slots=True)
class Row:
    tokens: npt.NDArray[np.int32]
    learned: npt.NDArray[np.bool_]
    documents: tuple[int, ...]
    example_ids: tuple[int, ...]


class EncodedRows:
    """Rows as the other side has them: ids and labels, one document a row."""

    def __init__(self, encoded: list[dict[str, list[int]]]) -> None:
        self._rows = [
            Row(
                tokens=np.asarray(row["input_ids"], dtype=np.int32),
                learned=np.asarray([label >= 0 for label in row["labels"]]),
                documents=(len(row["input_ids"]),),
                example_ids=(index,),
            )
            for index, row in enumerate(encoded)
        ]
        self.rows = len(self._rows)

    def row(self, index: int) -> Row:
        return self._rows[index]

    def row_trained_tokens(self, index: int) -> int:
        return int(self._rows[index].learned[1:].sum())


@dataclass(frozen=True, slots=True)
class Task:
    model: str
    encoded: list[dict[str, list[int]]]
    steps: int
    micro_batch_rows: int
    computed_tokens: str


def ours(
    model: str, encoded: list[dict[str, list[int]]], steps: int, side: tuple[int, str]
) -> dict[str, float]:
    """Tokens of the data per second over the measured steps, the share of them that was computed, and the
    peak memory of the larger rank. side: rows of a micro-batch, and which of its tokens are computed."""
    from torch._C._distributed_c10d import TCPStore

    task = Task(model, encoded, steps, *side)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = get_context("spawn")
    pipes: list[Connection] = []
    processes = []
    for rank in range(RANKS):
        mine, theirs = context.Pipe()
        process = context.Process(target=_rank, args=(theirs, task, rank, store.port))
        process.start()
        pipes.append(mine)
        processes.append(process)
    results: list[dict[str, float]] = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    tokens = sum(result["tokens"] for result in results)
    seconds = max(result["seconds"] for result in results)
    return {
        "tokens_per_second": tokens / seconds,
        "computed_ratio": sum(result["computed"] for result in results) / tokens,
        "peak_rss_bytes": max(result["peak_rss_bytes"] for result in results),
    }


def _rank(pipe: Connection, task: Task, rank: int, port: int) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    from lora_speed import WARM_UP_STEPS
    from shardwright_trainer.rank.step import Engine

    data: Any = EncodedRows(task.encoded)
    config, steps = _config(task, data.rows), task.steps
    engine = Engine(config, data, lambda _name, _ratio: None)
    plan = _generation(engine.layout.elements, config.recipe.lanes, rank, port)
    engine.connect(plan)
    engine.adopt(plan)
    engine.commit(plan)
    for step in range(WARM_UP_STEPS):
        engine.take_step(step)
    counter = _count_computed(engine)
    began, tokens = time.perf_counter(), 0
    for step in range(WARM_UP_STEPS, WARM_UP_STEPS + steps):
        outcome = engine.take_step(step)
        tokens += sum(lane.processed_tokens for lane in outcome.lanes)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pipe.send({
        "tokens": float(tokens), "computed": float(counter[0]), "seconds": seconds,
        "peak_rss_bytes": float(peak),
    })  # fmt: skip
    engine.close()


def _count_computed(engine: Any) -> list[int]:
    """One number: tokens that went through the model since."""
    counter = [0]

    def count(_module: Any, arguments: tuple[Any, ...]) -> None:
        counter[0] += arguments[0].numel()

    engine._trained.model.get_input_embeddings().register_forward_pre_hook(count)
    return counter


def _config(task: Task, rows: int) -> Any:
    from lora_speed import BATCH_ROWS, LORA
    from shardwright_trainer.plan.config import RankConfig, Recipe

    train = {
        "epochs": 1, "maxSteps": None, "batchSize": BATCH_ROWS, "learningRate": 2e-3, "schedule": "linear",
        "warmupSteps": 0, "warmupRatio": 0.0, "finalRateRatio": 0.0, "weightDecay": 0.0, "maxGradNorm": 1.0,
        "betas": [0.9, 0.999], "epsilon": 1e-8, "seed": 0,
    }  # fmt: skip
    tuning = {"method": "lora", **LORA, "dropout": 0.0, "targets": "all-linear", "rslora": False}
    recipe = Recipe(
        compute_dtype="fp32", wire_dtype="fp32", lanes=BATCH_ROWS // task.micro_batch_rows,
        micro_batches_per_lane=1, micro_batch_rows=task.micro_batch_rows, row_tokens=0,
        cross_entropy_rows=256, attention="sdpa", threads_per_rank=1,
        optimizer_implementation="foreach-v1", gradient_checkpointing="none", device_type="cpu",
        computed_tokens=task.computed_tokens,
    )  # fmt: skip
    return RankConfig(
        job_name="bench", spec={"tuning": tuning, "train": train}, recipe=recipe, zero_stage=1,
        block_elements=BLOCK_ELEMENTS, model_directory=task.model, data_directory="", work_directory="/tmp",
        total_steps=rows // BATCH_ROWS, steps_per_epoch=rows // BATCH_ROWS,
    )  # fmt: skip


def _generation(elements: int, lanes_count: int, rank: int, port: int) -> Any:
    from shardwright_trainer.plan.config import (
        BlockMap,
        BlockRun,
        FreshSource,
        GenerationPlan,
        LaneRange,
    )

    blocks = -(-elements // BLOCK_ELEMENTS)
    half = blocks // RANKS
    runs = (
        BlockRun(first_block=0, blocks=half, holders=(0, 1)),
        BlockRun(first_block=half, blocks=blocks - half, holders=(1, 0)),
    )
    lanes = tuple(
        LaneRange(rank=each, begin=each * lanes_count // RANKS, end=(each + 1) * lanes_count // RANKS)
        for each in range(RANKS)
    )
    return GenerationPlan(
        generation=1, rank=rank, world_size=RANKS,
        block_map=BlockMap(elements=elements, block_elements=BLOCK_ELEMENTS, blocks=blocks, runs=runs),
        lanes=lanes, source=FreshSource(), store_host="127.0.0.1", store_port=port, store_prefix="bench",
        save_every_steps=10**6, total_steps=10**6, collective_timeout_seconds=600.0,
    )  # fmt: skip
