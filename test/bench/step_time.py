"""Step time, bytes sent and peak memory of the exact block-sharded step against others in the same run.

Sides, of which two or more take turns step by step in processes of their own; the first is what the others
are compared with:

    ddp       torch DDP with torch.optim.AdamW
    exact     ours: a copy of all state on every rank (LoRA), sharded without copies (full tuning)
    fast      ours with `exactness: fast`
    copies-1  ours, one copy of every block: what replicas cost is copies-2 against copies-1
    copies-2  ours, an owner and one replica

Same model, same forward code, same ranks, same rows, same clipping. Prints one JSON object. Run from the
repository root with the trainer's Python:

    OMP_NUM_THREADS=1 python test/bench/step_time.py [--sides ddp,exact] [--ranks 2] [--method full|lora]
                                                [--stage 0|1|2]

The stage is the planner's unless it is given: 0 for LoRA, 1 for full tuning and where copies are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packages" / "trainer"))

import numpy as np
import numpy.typing as npt
from shardwright_trainer.plan.config import (
    BlockMap,
    BlockRun,
    FreshSource,
    GenerationPlan,
    LaneRange,
    RankConfig,
    Recipe,
)
from torch._C._distributed_c10d import TCPStore

SIDES = ("ddp", "exact", "fast", "copies-1", "copies-2")
GOALS = {("ddp", "exact"): 1.10, ("copies-1", "copies-2"): 1.03}
"""Step time of the second side over the first, at most. The second goal is that of LoRA."""
WARM_UP_STEPS = 2
VOCABULARY = 8192


@dataclass(frozen=True, slots=True)
class Row:
    tokens: npt.NDArray[np.int32]
    learned: npt.NDArray[np.bool_]
    documents: tuple[int, ...]
    example_ids: tuple[int, ...]


class RandomRows:
    """Packed rows of three documents; the second half of each document is learned."""

    def __init__(self, rows: int, row_tokens: int) -> None:
        self.rows = rows
        self._row_tokens = row_tokens

    def row(self, index: int) -> Row:
        random = np.random.default_rng(index)
        first, second = self._row_tokens // 2, self._row_tokens // 4
        documents = (first, second, self._row_tokens - first - second)
        tokens = random.integers(1, VOCABULARY, size=self._row_tokens).astype(np.int32)
        learned = np.concatenate([np.arange(length) >= length // 2 for length in documents])
        return Row(tokens, learned, documents, (index,))

    def row_trained_tokens(self, index: int) -> int:
        return int(self.row(index).learned.sum())


@dataclass(frozen=True, slots=True)
class Task:
    config: RankConfig
    ranks: int
    rows: int
    row_tokens: int
    steps: int
    copies: int


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        parameters = _save_model(folder, options.hidden, options.layers)
        gangs = {side: Ranks(side, _task(folder, options, side)) for side in options.sides}
        found: dict[str, list[Step]] = {side: [] for side in gangs}
        for index in range(WARM_UP_STEPS + options.steps):
            # They take turns step by step: whatever else the machine does meets all of them.
            for side, ranks in gangs.items():
                step = ranks.step()
                if index >= WARM_UP_STEPS:
                    found[side].append(step)
        peaks = {side: ranks.finish() for side, ranks in gangs.items()}
    sys.stdout.write(json.dumps(_summary(options, parameters, found, peaks), indent=2) + "\n")


def _sides(text: str) -> tuple[str, ...]:
    sides = tuple(text.split(","))
    unknown = [side for side in sides if side not in SIDES]
    if unknown or len(set(sides)) < 2 or len(set(sides)) < len(sides):
        raise argparse.ArgumentTypeError(f"expected two or more different ones of {', '.join(SIDES)}")
    return sides


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--sides", type=_sides, default=("ddp", "exact"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--row-tokens", type=int, default=256)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--stage", type=int, choices=[0, 1, 2], default=None)
    return parser.parse_args()


def _save_model(folder: str, hidden: int, layers: int) -> int:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        tie_word_embeddings=True,
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    return int(sum(parameter.numel() for parameter in model.parameters()))


def _task(folder: str, options: argparse.Namespace, side: str) -> Task:
    batch = options.lanes
    tuning = {
        "method": options.method,
        "r": 16,
        "alpha": 32,
        "dropout": 0.0,
        "targets": "all-linear",
        "rslora": False,
    }
    train = {
        "batchSize": batch,
        "learningRate": 1e-4,
        "schedule": "constant",
        "warmupSteps": 0,
        "warmupRatio": 0.0,
        "finalRateRatio": 0.0,
        "weightDecay": 0.01,
        "maxGradNorm": 1.0,
        "betas": [0.9, 0.999],
        "epsilon": 1e-8,
        "seed": 3,
    }
    recipe = Recipe(
        compute_dtype="fp32",
        wire_dtype="fp32",
        lanes=options.lanes,
        micro_batches_per_lane=1,
        micro_batch_rows=1,
        row_tokens=0,
        cross_entropy_rows=256,
        attention="sdpa",
        threads_per_rank=1,
        optimizer_implementation="single",
        gradient_checkpointing="none",
        device_type="cpu",
    )
    # LoRA state is small: every rank has a copy of all of it. Full tuning is sharded, without copies.
    planned = 0 if options.method == "lora" and not side.startswith("copies") else 1
    stage = planned if options.stage is None else options.stage
    config = RankConfig(
        job_name="bench",
        spec={"tuning": tuning, "train": train, "exactness": "fast" if side == "fast" else "exact"},
        recipe=recipe,
        zero_stage=stage,
        block_elements=1 << 20 if options.method == "full" else 1 << 16,
        model_directory=folder,
        data_directory="",
        work_directory=folder,
        total_steps=10**6,
        steps_per_epoch=10,
    )
    copies = {"copies-1": 1, "copies-2": 2}.get(side, options.ranks if stage == 0 else 1)
    return Task(config, options.ranks, 10 * batch, options.row_tokens, options.steps, copies)


@dataclass(frozen=True, slots=True)
class Step:
    seconds: float
    """Until the last rank is done."""
    sections: list[dict[str, float]]
    """Of each rank that keeps them."""
    sent_bytes: int
    """Of all ranks; 0 where nobody counts."""


class Ranks:
    """The rank processes of one side; they sleep between steps."""

    def __init__(self, side: str, task: Task) -> None:
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        context = get_context("spawn")
        self._pipes = []
        self._processes = []
        for rank in range(task.ranks):
            ours, theirs = context.Pipe()
            process = context.Process(target=_rank, args=(side, task, rank, self._store.port, theirs))
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def step(self) -> Step:
        """One step of every rank at once."""
        began = time.perf_counter()
        for pipe in self._pipes:
            pipe.send(True)
        answers = [pipe.recv() for pipe in self._pipes]
        seconds, kept = time.perf_counter() - began, [answer for answer in answers if answer]
        return Step(seconds, [sections for sections, _ in kept], sum(sent for _, sent in kept))

    def finish(self) -> int:
        """Ends the processes; the largest peak memory of one of them, in bytes."""
        for pipe in self._pipes:
            pipe.send(False)
        peaks: list[int] = [pipe.recv() for pipe in self._pipes]
        for process in self._processes:
            process.join()
        return max(peaks)


def _rank(side: str, task: Task, rank: int, port: int, pipe: Any) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    steps = _ddp_steps(task, rank, port) if side == "ddp" else _our_steps(task, rank, port)
    next(steps)
    pipe.send("loaded")
    while pipe.recv():
        pipe.send(next(steps))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _our_steps(task: Task, rank: int, port: int) -> Any:
    from shardwright_trainer.rank.step import Engine

    engine = Engine(task.config, RandomRows(task.rows, task.row_tokens), lambda _phase, _ratio: None)
    plan = _plan(task, rank, port, engine.layout.elements)
    engine.connect(plan)
    engine.adopt(plan)
    engine.commit(plan)
    step = 0
    yield None
    while True:
        outcome = engine.take_step(step)
        yield outcome.sections, outcome.sent_bytes
        step += 1


def _plan(task: Task, rank: int, port: int, elements: int) -> GenerationPlan:
    blocks = -(-elements // task.config.block_elements)
    bounds = [blocks * index // task.ranks for index in range(task.ranks + 1)]
    runs = tuple(
        BlockRun(
            first_block=begin,
            blocks=end - begin,
            holders=tuple((index + copy) % task.ranks for copy in range(task.copies)),
        )
        for index, (begin, end) in enumerate(pairwise(bounds))
        if end > begin
    )
    lanes = [task.config.recipe.lanes * index // task.ranks for index in range(task.ranks + 1)]
    return GenerationPlan(
        generation=1,
        rank=rank,
        world_size=task.ranks,
        block_map=BlockMap(
            elements=elements, block_elements=task.config.block_elements, blocks=blocks, runs=runs
        ),
        lanes=tuple(LaneRange(rank=one, begin=lanes[one], end=lanes[one + 1]) for one in range(task.ranks)),
        source=FreshSource(),
        store_host="127.0.0.1",
        store_port=port,
        store_prefix="exact",
        save_every_steps=10**6,
        total_steps=10**6,
        collective_timeout_seconds=300.0,
    )


def _ddp_steps(task: Task, rank: int, port: int) -> Any:
    """What a careful user writes: no_sync until the last micro-batch, global token count, clip, AdamW."""
    import torch
    import torch.distributed as dist
    from shardwright_trainer.nn.losses import micro_batch
    from shardwright_trainer.nn.model import load_model
    from shardwright_trainer.rank.engine_lanes import StepRows
    from torch._C._distributed_c10d import PrefixStore

    torch.set_num_threads(1)
    store = PrefixStore("ddp", TCPStore("127.0.0.1", port, is_master=False))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=task.ranks)
    trained = load_model(task.config, lambda _phase, _ratio: None)
    data = RandomRows(task.rows, task.row_tokens)

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = trained.model

        def forward(self, batch: Any) -> Any:
            return trained.loss_sum(batch, task.config.recipe.cross_entropy_rows)

    # gradient_as_bucket_view saves a copy of the gradients: the best DDP can do here.
    wrapped = torch.nn.parallel.DistributedDataParallel(Loss(), gradient_as_bucket_view=True)
    parameters = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    train = task.config.spec["train"]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=train["learningRate"],
        betas=tuple(train["betas"]),
        eps=train["epsilon"],
        weight_decay=train["weightDecay"],
    )
    lanes = task.config.recipe.lanes
    mine = range(lanes * rank // task.ranks, lanes * (rank + 1) // task.ranks)
    step = 0
    yield None
    while True:
        rows = StepRows.of(task.config, data, step)
        for lane in mine:
            batch = micro_batch([data.row(row) for row in rows.lanes[lane][0]], 0, torch.device("cpu"))
            wrapped.require_backward_grad_sync = lane == mine[-1]
            # DDP averages over ranks; the sum over the global batch is wanted.
            loss = wrapped(batch) * (task.ranks / rows.trained_tokens)
            torch.autograd.backward(loss)
            float(loss.detach())
        torch.nn.utils.clip_grad_norm_(parameters, train["maxGradNorm"])
        optimizer.step()
        optimizer.zero_grad()
        yield None
        step += 1


def _summary(
    options: argparse.Namespace, parameters: int, found: dict[str, list[Step]], peaks: dict[str, int]
) -> dict[str, Any]:
    import torch

    medians = {side: statistics.median(step.seconds for step in steps) for side, steps in found.items()}
    first = options.sides[0]
    return {
        "bench": "step_time",
        "command": " ".join(["python", "test/bench/step_time.py", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "method": options.method,
        "zero_stage": options.stage,
        "ranks": options.ranks,
        "parameters": parameters,
        "tokens_per_step": options.lanes * options.row_tokens,
        "compared_with": first,
        "sides": {side: _side(steps, peaks[side]) for side, steps in found.items()},
        "ratios": {side: _ratio(first, side, medians, found) for side in options.sides[1:]},
    }


def _side(steps: list[Step], peak: int) -> dict[str, Any]:
    sections = [one for step in steps for one in step.sections]
    return {
        "step_seconds_median": round(statistics.median(step.seconds for step in steps), 4),
        "step_seconds_min": round(min(step.seconds for step in steps), 4),
        "sent_bytes_per_step": int(statistics.median(step.sent_bytes for step in steps)),
        "peak_rss_mib": round(peak / 2**20, 1),
        "sections_seconds": {
            name: round(statistics.median(one[name] for one in sections), 4)
            for name in (sections[0] if sections else ())
        },
    }


def _ratio(first: str, side: str, medians: dict[str, float], found: dict[str, list[Step]]) -> dict[str, Any]:
    ratio = medians[side] / medians[first]
    fastest = {one: min(step.seconds for step in found[one]) for one in (first, side)}
    goal = GOALS.get((first, side))
    return {
        "of_medians": round(ratio, 4),
        "of_minima": round(fastest[side] / fastest[first], 4),
        "goal": goal,
        "goal_met": None if goal is None else ratio <= goal,
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
