"""Tiny causal models with random weights, saved as real model folders, and rows to train them on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from shardwright_trainer.nn.losses import MicroBatch
from shardwright_trainer.nn.model import TrainedModel
from shardwright_trainer.plan.config import RankConfig, Recipe
from shardwright_trainer.plan.schedule import steps_per_epoch

VOCABULARY = 97
FAMILIES = ("llama", "qwen2", "gemma2", "gpt2")
OPENING_TOKENS = 9
"""Longer than the window of the tiny gemma2."""


def save_model(folder: Path, family: str, *, seed: int = 5, tied: bool | None = None, **changes: Any) -> str:
    """A model folder of this family: 2 layers, hidden size 32."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 8,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    if family == "gpt2":
        shape = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128,
                 "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
                 "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
    if family == "gemma2":
        # A window shorter than the longest document and small caps, so that both change the result.
        shape |= {"sliding_window": 6, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
                  "query_pre_attn_scalar": 8}  # fmt: skip
    if tied is not None:
        shape["tie_word_embeddings"] = tied
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(shape | changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms and biases start constant; random ones catch wrong gradients
                parameter.add_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.mul_(4.0)
    model.save_pretrained(str(folder))
    return str(folder)


@dataclass(frozen=True, slots=True)
class FakeRow:
    tokens: npt.NDArray[np.int32]
    learned: npt.NDArray[np.bool_]
    documents: tuple[int, ...]
    example_ids: tuple[int, ...]


class FakeData:
    """`rows` random rows of one to three documents; what a row holds depends on its number alone.

    opening: so many tokens more, the same ones, begin every document; some are learned, others in each.
    """

    def __init__(self, rows: int, opening: int = 0) -> None:
        self.rows = rows
        self._opening = np.random.default_rng(999).integers(3, VOCABULARY, size=opening).astype(np.int32)

    def row(self, index: int) -> FakeRow:
        random = np.random.default_rng(1000 + index)
        documents = tuple(int(length) for length in random.integers(3, 12, size=int(random.integers(1, 4))))
        tokens = random.integers(3, VOCABULARY, size=sum(documents)).astype(np.int32)
        if len(self._opening) > 0:
            own = np.split(tokens, np.cumsum(documents[:-1]))
            tokens = np.concatenate([part for one in own for part in (self._opening, one)])
            documents = tuple(len(self._opening) + length for length in documents)
        learned = random.random(len(tokens)) < 0.7
        learned[-1] = True
        ids = tuple(index * 10 + position for position in range(len(documents)))
        return FakeRow(tokens, learned, documents, ids)

    def row_trained_tokens(self, index: int) -> int:
        row = self.row(index)
        starts = np.cumsum((0, *row.documents[:-1]))
        return int(row.learned.sum() - row.learned[starts].sum())


def data_of(config: RankConfig, rows: int) -> FakeData:
    """The rows of a job: documents open alike where the recipe makes something of it."""
    return FakeData(rows, opening=OPENING_TOKENS if config.recipe.computed_tokens == "needed" else 0)


def a_config(
    model_directory: str, *, method: str = "lora", family: str = "llama", **changes: Any
) -> RankConfig:
    """A job of 8 lanes of 2 micro-batches of one row, 41 rows in batches of 14: steps and epochs end
    short."""
    rows, batch = changes.pop("rows", 41), changes.pop("batch", 14)
    tuning = {"method": method, "r": 4, "alpha": 8, "dropout": 0.0, "targets": "all-linear", "rslora": False}
    train: dict[str, Any] = {
        "epochs": 3, "maxSteps": None, "batchSize": batch, "learningRate": 5e-3, "schedule": "linear",
        "warmupSteps": 0, "warmupRatio": 0.0, "finalRateRatio": 0.1, "weightDecay": 0.01, "maxGradNorm": 1.0,
        "optimizer": "adamw", "betas": [0.9, 0.999], "epsilon": 1e-8, "maxLength": None, "seed": 11,
    }  # fmt: skip
    recipe: dict[str, Any] = {
        "compute_dtype": "fp32", "wire_dtype": "fp32", "lanes": 8, "micro_batches_per_lane": 2,
        "micro_batch_rows": 1, "row_tokens": 0, "cross_entropy_rows": 7,
        "attention": "math" if family == "gemma2" else "sdpa",
        "threads_per_rank": 1, "optimizer_implementation": "single", "gradient_checkpointing": "none",
        "device_type": "cpu",
    }  # fmt: skip
    tuning |= changes.pop("tuning", {})
    train |= changes.pop("train", {})
    recipe |= changes.pop("recipe", {})
    settings: dict[str, Any] = {
        "job_name": "tiny", "spec": {"tuning": tuning, "train": train}, "recipe": Recipe(**recipe),
        "zero_stage": 1, "block_elements": 256, "model_directory": model_directory, "data_directory": "",
        "work_directory": "/tmp",         "total_steps": 9, "steps_per_epoch": steps_per_epoch(rows, batch),
    }  # fmt: skip
    return RankConfig(**(settings | changes))


def gradient_into_tokens(trained: TrainedModel, batch: MicroBatch, begin: int, end: int) -> torch.Tensor:
    """[t, h]: gradient at the embedding of each token, of a sum over the hidden states [begin, end)."""
    seen: list[torch.Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: torch.Tensor) -> torch.Tensor:
        output.retain_grad()
        seen.append(output)
        return output

    trained.model.get_input_embeddings().register_forward_hook(keep)  # type: ignore[operator]
    torch.autograd.backward(trained.hidden(batch)[begin:end].square().sum())
    assert seen[0].grad is not None
    return seen[0].grad[0]
