"""Chunked cross-entropy against the plain one, forward and backward, for every kind of head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shardwright_trainer.nn.cross_entropy import cross_entropy_sum

ROWS, HIDDEN, VOCABULARY = 23, 16, 41
TOLERANCE = 1e-6


def _plain(hidden_nh: Tensor, head: nn.Module, targets_n: Tensor, softcap: float | None) -> Tensor:
    logits_nv = head(hidden_nh).float()
    if softcap is not None:
        logits_nv = torch.tanh(logits_nv / softcap) * softcap
    return nn.functional.cross_entropy(logits_nv, targets_n, reduction="sum")


def _trained_head() -> nn.Module:
    return nn.Linear(HIDDEN, VOCABULARY, bias=False)


def _frozen_head() -> nn.Module:
    return _trained_head().requires_grad_(False)


def _biased_head() -> nn.Module:
    return nn.Linear(HIDDEN, VOCABULARY)


def _adapted_head() -> nn.Module:
    from peft import LoraConfig, inject_adapter_in_model

    model = nn.ModuleDict({"head": _trained_head()})
    inject_adapter_in_model(LoraConfig(r=3, target_modules=["head"], init_lora_weights=False), model)
    return model["head"]


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("chunk_rows", [1, 5, 23, 64])
@pytest.mark.parametrize("make_head", [_trained_head, _frozen_head, _biased_head, _adapted_head])
def test_equals_the_plain_loss(
    make_head: Callable[[], nn.Module], chunk_rows: int, softcap: float | None
) -> None:
    torch.manual_seed(3)
    head = make_head()
    targets_n = torch.randint(VOCABULARY, (ROWS,))
    source = torch.randn(ROWS, HIDDEN)
    ours, theirs = (source.clone().requires_grad_() for _ in range(2))
    loss = cross_entropy_sum(ours, head, targets_n, chunk_rows=chunk_rows, softcap=softcap)
    assert loss.dtype == torch.float64
    torch.autograd.backward(loss * 0.5)
    our_grads = _take_grads(head)
    expected = _plain(theirs, head, targets_n, softcap)
    torch.autograd.backward(expected * 0.5)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=TOLERANCE)
    assert ours.grad is not None and theirs.grad is not None
    assert (ours.grad - theirs.grad).abs().max() <= TOLERANCE
    their_grads = _take_grads(head)
    assert our_grads.keys() == their_grads.keys()
    for name, gradient in our_grads.items():
        assert (gradient - their_grads[name]).abs().max() <= TOLERANCE * max(1.0, float(gradient.abs().max()))


def test_a_tied_head_gets_both_gradients() -> None:
    torch.manual_seed(4)
    embedding = nn.Embedding(VOCABULARY, HIDDEN)
    head = nn.Linear(HIDDEN, VOCABULARY, bias=False)
    head.weight = embedding.weight
    tokens_n, targets_n = torch.randint(VOCABULARY, (ROWS,)), torch.randint(VOCABULARY, (ROWS,))
    grads: list[Tensor] = []
    for loss_of in (_chunked, _plain):
        torch.autograd.backward(loss_of(torch.tanh(embedding(tokens_n)), head, targets_n, None))
        assert embedding.weight.grad is not None
        grads.append(embedding.weight.grad.clone())
        embedding.weight.grad = None
    assert (grads[0] - grads[1]).abs().max() <= TOLERANCE * float(grads[1].abs().max())


def test_sixteen_bit_sums_in_fp32() -> None:
    torch.manual_seed(5)
    head = _trained_head().to(torch.bfloat16)
    hidden_nh = torch.randn(ROWS, HIDDEN, dtype=torch.bfloat16, requires_grad=True)
    loss = cross_entropy_sum(hidden_nh, head, torch.zeros(ROWS, dtype=torch.int64), chunk_rows=4)
    expected = nn.functional.cross_entropy(
        head(hidden_nh).float(), torch.zeros(ROWS, dtype=torch.int64), reduction="sum"
    )
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.autograd.backward(loss)
    weight: Any = head.weight
    assert weight.grad.dtype == torch.bfloat16 and torch.isfinite(weight.grad).all()


def test_no_rows_no_loss() -> None:
    hidden_nh = torch.empty(0, HIDDEN, requires_grad=True)
    loss = cross_entropy_sum(hidden_nh, _trained_head(), torch.empty(0, dtype=torch.int64), chunk_rows=4)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0.0


def _chunked(hidden_nh: Tensor, head: nn.Module, targets_n: Tensor, softcap: float | None) -> Tensor:
    return cross_entropy_sum(hidden_nh, head, targets_n, chunk_rows=6, softcap=softcap)


def _take_grads(head: nn.Module) -> dict[str, Tensor]:
    found = {name: one.grad.clone() for name, one in head.named_parameters() if one.grad is not None}
    head.zero_grad()
    return found
