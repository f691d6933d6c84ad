"""The peer of recovery.ts: what a careful user of torchrun elastic writes, LoRA with PEFT under DDP.

Started by `python -m torch.distributed.run --max-restarts …`. Saves adapter, optimizer and step every
`--save-every` steps (written beside, then renamed) and begins from the newest save after a restart.
Appends JSON lines to `--out`: rank 0 says where it began and each step it finished, every rank its pid.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lora_speed import LORA, encode
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

BATCH_ROWS = 8
ROWS_MAX = 64


def say(path: Path, **fact: Any) -> None:
    """One line; a short append is whole or not there."""
    line = json.dumps({"time": time.time(), **fact}) + "\n"
    with path.open("a") as file:
        file.write(line)


def save(path: Path, step: int, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Whole or not at all."""
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    torch.save(
        {"step": step, "adapter": trained, "optimizer": optimizer.state_dict()}, path.with_suffix(".new")
    )
    path.with_suffix(".new").rename(path)


def restore(path: Path, model: Any, optimizer: torch.optim.Optimizer) -> int:
    """Steps done in the newest save; 0 when there is none."""
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad:
                value.copy_(saved["adapter"][name])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def batch_of(rows: list[dict[str, list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Rows padded to the longest of them."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, filler: int) -> torch.Tensor:
        return torch.tensor([row[name] + [filler] * (longest - len(row[name])) for row in rows])

    mask = torch.tensor(
        [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
    )
    return {"input_ids": padded("input_ids", pad), "labels": padded("labels", -100), "attention_mask": mask}


def store_of_this_start() -> dist.Store:
    """torchrun's store, with keys of this start's own: gloo would find the addresses of the processes that are
    gone."""
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    return dist.PrefixStore(f"start-{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("rows", type=Path)
    parser.add_argument("--save-every", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    say(options.out, pid=os.getpid(), rank=rank)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", store=store_of_this_start(), rank=rank, world_size=ranks)
    lora = LoraConfig(
        r=LORA["r"], lora_alpha=LORA["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(options.model), lora)
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-3)
    newest = options.out.with_name("newest.pt")
    step = restore(newest, model, optimizer)
    if rank == 0:
        say(options.out, began=step)
    rows = encode(options.model, options.rows)[:ROWS_MAX]
    own = BATCH_ROWS // ranks
    while True:
        first = step * BATCH_ROWS + rank * own
        mine = [rows[index % len(rows)] for index in range(first, first + own)]
        loss = wrapped(**batch_of(mine, 0)).loss
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if rank == 0:
            if step % options.save_every == 0:
                save(newest, step, model, optimizer)
            say(options.out, step=step)


if __name__ == "__main__":
    main()
