"""The fused adapted linear layer against peft's own forward, and where it is not used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from shardwright_trainer.nn.lora_linear import fuse


def adapted(*, bias: bool, dropout: float = 0.0, alpha: int = 8) -> Any:
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20, bias=bias), nn.Tanh(), nn.Linear(20, 6, bias=bias))
    model.requires_grad_(False)
    config = LoraConfig(
        r=4, lora_alpha=alpha, lora_dropout=dropout, target_modules=["0", "2"], init_lora_weights=False
    )
    return inject_adapter_in_model(config, model)


def results(model: Any) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    x = torch.linspace(-1, 1, 3 * 5 * 12).view(3, 5, 12).requires_grad_()
    y = model(x)
    y.square().sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad, [p.grad for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("alpha", [8, 6])
def test_outputs_and_gradients_are_those_of_peft(bias: bool, alpha: int) -> None:
    ours, theirs = adapted(bias=bias, alpha=alpha), adapted(bias=bias, alpha=alpha)
    assert fuse(ours, "default") == 2
    y, dx, grads = results(ours)
    y_peft, dx_peft, grads_peft = results(theirs)
    torch.testing.assert_close(y, y_peft, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(dx, dx_peft, rtol=1e-5, atol=1e-6)
    assert len(grads) == 4
    for found, expected in zip(grads, grads_peft, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_dropout_keeps_the_forward_of_peft() -> None:
    assert fuse(adapted(bias=False, dropout=0.1), "default") == 0
