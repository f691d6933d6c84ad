"""The step against a plain loop: one process, stock Hugging Face model and PEFT, torch.optim.AdamW, the
same data order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gang import RankPool, run_job
from models import FAMILIES, a_config, data_of, save_model
from step_pool import shared_pool

from shardwright_trainer.plan.config import RankConfig
from shardwright_trainer.plan.schedule import learning_rate, rows_of

ROWS = 41
STEPS = 6


@pytest.mark.parametrize("computed", ["all", "needed"])
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_those_of_a_plain_loop(tmp_path: Path, family: str, method: str, computed: str) -> None:
    pool: RankPool = shared_pool()
    recipe = {"computed_tokens": computed}
    config = a_config(save_model(tmp_path, family), method=method, family=family, recipe=recipe)
    _, outcomes = run_job(pool, config, ROWS, 2, STEPS)
    layout = pool.ranks[0].ask("layout")
    ours = [outcome.loss for outcome in outcomes[0]]
    norms = [outcome.grad_norm for outcome in outcomes[0]]
    weights = pool.ranks[0].ask("weights")
    start = run_job(pool, config, ROWS, 1, 0)
    assert start
    initial = pool.ranks[0].ask("weights")
    theirs, their_norms, their_weights = _plain_loop(config, layout, initial)
    assert max(abs(one - other) / other for one, other in zip(ours, theirs, strict=True)) <= 1e-6
    assert norms == pytest.approx(their_norms, rel=1e-5)
    # Adam turns rounding of a gradient that is zero in theory (a key's bias) into whole updates: not the
    # maximum.
    assert np.quantile(np.abs(weights - their_weights), 0.95) <= 1e-6
    assert max(ours) - min(ours) > 1e-3, "the curve must move"


def _plain_loop(config: RankConfig, layout: Any, initial: Any) -> tuple[list[float], list[float], Any]:
    """Losses, norms and final weights. Documents are run one by one, so packing itself is checked as well."""
    model = _stock_model(config)
    named = {
        name.replace("base_model.model.", "").replace(".default.", "."): one
        for name, one in model.named_parameters()
    }
    with torch.no_grad():
        for tensor in layout.tensors:
            named[tensor.fqn].copy_(torch.from_numpy(initial[tensor.begin : tensor.end]).view(tensor.shape))
    trained = [named[tensor.fqn] for tensor in layout.tensors]
    assert [one for one in model.parameters() if one.requires_grad] and all(
        one.requires_grad for one in trained
    )
    train, data = config.spec["train"], data_of(config, ROWS)
    optimizer = torch.optim.AdamW(
        trained, lr=0.0, betas=tuple(train["betas"]), eps=train["epsilon"], weight_decay=train["weightDecay"]
    )
    losses: list[float] = []
    norms: list[float] = []
    for step in range(STEPS):
        rows = [row for lane in range(8) for index in range(2) for row in _rows(config, step, lane, index)]
        total = torch.zeros((), dtype=torch.float64)
        optimizer.zero_grad()
        tokens = sum(data.row_trained_tokens(row) for row in rows)
        for row in rows:
            loss = _row_loss(model, data.row(row))
            torch.autograd.backward(loss / tokens)
            total += loss.detach().double()
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, train["maxGradNorm"])))
        optimizer.param_groups[0]["lr"] = learning_rate(train, step, config.total_steps)
        optimizer.step()
        losses.append(float(total) / tokens)
    return losses, norms, torch.cat([one.detach().flatten() for one in trained]).numpy()


def _rows(config: RankConfig, step: int, lane: int, index: int) -> list[int]:
    train = config.spec["train"]
    return rows_of(
        config.recipe, train["seed"], ROWS, step, train["batchSize"], config.steps_per_epoch, lane, index
    )


def _stock_model(config: RankConfig) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        config.model_directory, dtype=torch.float32, attn_implementation="eager", use_safetensors=True
    )
    tuning = config.spec["tuning"]
    if tuning["method"] == "lora":
        is_conv = type(model).__name__.startswith("GPT2")
        lora = LoraConfig(
            r=tuning["r"], lora_alpha=tuning["alpha"], target_modules="all-linear", fan_in_fan_out=is_conv,
            task_type="CAUSAL_LM",
        )  # fmt: skip
        model = get_peft_model(model, lora)
    return model.train()


def _row_loss(model: Any, row: Any) -> torch.Tensor:
    """Sum of the cross-entropies of a row's documents, each in a forward pass of its own."""
    total = torch.zeros(())
    begin = 0
    for length in row.documents:
        tokens = torch.from_numpy(row.tokens[begin : begin + length].astype(np.int64))
        learned = torch.from_numpy(row.learned[begin : begin + length].copy())
        labels = torch.where(learned, tokens, -100)[1:]
        logits = model(input_ids=tokens.unsqueeze(0)).logits[0, :-1].float()
        if (labels >= 0).any():
            total = total + torch.nn.functional.cross_entropy(
                logits, labels, ignore_index=-100, reduction="sum"
            )
        begin += length
    return total
