"""Tokens per second of one LoRA step on the CPU: ours against HF Trainer + PEFT, same model, rows and run.

`python test/bench/lora_speed.py MODEL_DIRECTORY CHAT_ROWS.jsonl [--short]` prints one JSON object: a table
over the rows of one of our micro-batches, with all of its tokens computed and with the needed ones alone
(recipe: computed tokens); the batch is the same for all. Both use both cores: HF Trainer as
one process with two threads on padded batches (its defaults), ours as two ranks of one thread. Only real
tokens count, padding does not. The sides take turns, round by round; the figures are ratios of medians.
Needs nothing else running.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

BATCH_ROWS = 8
MICRO_BATCH_ROWS = (1, 2, 4)
"""Ours; each of two ranks has half of the batch, 4 rows are all of it at once."""
COMPUTED_TOKENS = ("all", "needed")
ROUNDS = 3
WARM_UP_STEPS = 2
LORA = {"r": 16, "alpha": 32}


def encode(model: str, rows: Path, count: int | None = None) -> list[dict[str, list[int]]]:
    """Ids, and labels of the assistant's turn, of every row; `count` of them, from the first again after the
    last."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    encoded = []
    for line in rows.read_text().splitlines():
        messages = json.loads(line)["messages"]
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(messages, tokenize=False).rstrip("\n")
        ids, shown = tokenizer(whole)["input_ids"], len(tokenizer(prompt)["input_ids"])
        encoded.append({"input_ids": ids, "labels": [-100] * shown + ids[shown:]})
    return encoded if count is None else [encoded[index % len(encoded)] for index in range(count)]


def hugging_face(model: str, rows: Path, steps: int) -> dict[str, float]:
    """HF Trainer + PEFT, one process, two threads, padded to the longest row of a batch."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    torch.set_num_threads(2)
    torch.manual_seed(0)
    data = encode(model, rows, BATCH_ROWS * (steps + WARM_UP_STEPS))
    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model),
        LoraConfig(r=LORA["r"], lora_alpha=LORA["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    marks: list[float] = []

    class Marks(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

    arguments = TrainingArguments(
        output_dir="/tmp/shardwright-bench",
        max_steps=steps + WARM_UP_STEPS,
        per_device_train_batch_size=BATCH_ROWS,
        learning_rate=2e-3,
        report_to=[],
        save_strategy="no",
        logging_steps=1000,
        use_cpu=True,
        disable_tqdm=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    collator = DataCollatorForSeq2Seq(tokenizer, padding=True)
    sampler_free = [dict(row, attention_mask=[1] * len(row["input_ids"])) for row in data]
    trainer = Trainer(
        model=tuned, args=arguments, train_dataset=sampler_free, data_collator=collator, callbacks=[Marks()]
    )
    trainer.train()
    tokens = sum(len(row["input_ids"]) for row in data) * steps / (steps + WARM_UP_STEPS)
    seconds = marks[-1] - marks[WARM_UP_STEPS - 1]
    return {"tokens_per_second": tokens / seconds, "peak_rss_bytes": float(peak_rss())}


def peak_rss() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def median_of(results: list[dict[str, float]]) -> float:
    return statistics.median(result["tokens_per_second"] for result in results)


def child(arguments: list[str]) -> dict[str, float]:
    """Each round in a process of its own, so that nothing of one side warms or burdens the other."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(lines[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("rows", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument(
        "--short", action="store_true", help="one round of two steps: only shows that it works"
    )
    parser.add_argument("--side", choices=["hf", "ours"])
    parser.add_argument("--micro-batch-rows", type=int, default=1)
    parser.add_argument("--computed-tokens", choices=COMPUTED_TOKENS, default="needed")
    arguments = parser.parse_args()
    if arguments.side == "hf":
        print(json.dumps(hugging_face(arguments.model, arguments.rows, arguments.steps)))
        return
    if arguments.side == "ours":
        from lora_speed_ours import ours

        encoded = encode(arguments.model, arguments.rows, BATCH_ROWS * (arguments.steps + WARM_UP_STEPS))
        side = (arguments.micro_batch_rows, arguments.computed_tokens)
        print(json.dumps(ours(arguments.model, encoded, arguments.steps, side)))
        return
    rounds, steps = (1, 2) if arguments.short else (ROUNDS, arguments.steps)
    common = [arguments.model, str(arguments.rows), "--steps", str(steps)]
    hf: list[dict[str, float]] = []
    sides = product(MICRO_BATCH_ROWS, COMPUTED_TOKENS)
    ours_by_side: dict[tuple[int, str], list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        hf.append(child([*common, "--side", "hf"]))
        for (rows, computed), results in ours_by_side.items():
            side = ["--micro-batch-rows", str(rows), "--computed-tokens", computed]
            results.append(child([*common, "--side", "ours", *side]))
    hf_median = median_of(hf)
    table = [
        {
            "micro_batch_rows": rows,
            "computed_tokens": computed,
            "computed_ratio": round(results[0]["computed_ratio"], 3),
            "tokens_per_second": round(median_of(results), 1),
            "ratio": round(median_of(results) / hf_median, 3),
            "peak_rss_mib": round(max(result["peak_rss_bytes"] for result in results) / 2**20, 1),
        }
        for (rows, computed), results in ours_by_side.items()
    ]
    import torch
    import transformers

    print(
        json.dumps(
            {
                "bench": "lora_speed",
                "command": " ".join(["python", "test/bench/lora_speed.py", *sys.argv[1:]]),
                "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "batch_rows": BATCH_ROWS,
                "hf_tokens_per_second": round(hf_median, 1),
                "hf_peak_rss_mib": round(max(result["peak_rss_bytes"] for result in hf) / 2**20, 1),
                "ours": table,
                "rounds": {
                    "hf": hf,
                    "ours": {f"{rows} {computed}": one for (rows, computed), one in ours_by_side.items()},
                },
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "machine": f"{platform.machine()}, {platform.processor() or 'cpu'}",
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
