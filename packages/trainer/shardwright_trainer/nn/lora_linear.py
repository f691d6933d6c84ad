"""One adapted linear layer as one step of autograd: no pass over the output is made for scaling or adding.

Legend: t tokens (all leading dimensions), i inputs, o outputs, r adapter width.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _LoraLinear(torch.autograd.Function):
    """y = W·x + bias + B·(s·(A·x)); W and bias are frozen. Scaling the [t, r] product instead of the [t, o]
    one saves two passes over the output; with s a power of two even the bits are those of peft's order."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them by position
        ctx: Any,
        x: Tensor,
        weight_oi: Tensor,
        bias_o: Tensor | None,
        a_ri: Tensor,
        b_or: Tensor,
        scale: float,
    ) -> Tensor:
        x_ti = x.reshape(-1, x.shape[-1])
        scaled_tr = (x_ti @ a_ri.t()).mul_(scale)
        y_to = F.linear(x_ti, weight_oi, bias_o)
        y_to.addmm_(scaled_tr, b_or.t())
        ctx.save_for_backward(x_ti, scaled_tr, weight_oi, a_ri, b_or)
        ctx.scale = scale
        ctx.shape = x.shape
        return y_to.view(*x.shape[:-1], y_to.shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ti, scaled_tr, weight_oi, a_ri, b_or = ctx.saved_tensors
        d_to = grads[0].reshape(-1, grads[0].shape[-1])
        d_b_or = d_to.t() @ scaled_tr
        d_tr = (d_to @ b_or).mul_(ctx.scale)
        d_a_ri = d_tr.t() @ x_ti
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = (d_to @ weight_oi).addmm_(d_tr, a_ri).view(ctx.shape)
        return d_x, None, None, d_a_ri, d_b_or, None


def fuse(model: nn.Module, adapter: str) -> int:
    """Gives every adapted plain linear layer without dropout the fused forward, in place; returns how many.

    Others (Conv1D, dropout, another dtype than the adapter's) keep peft's own forward.
    """
    from peft.tuners.lora import Linear

    fused = 0
    for module in model.modules():
        if isinstance(module, Linear) and _can_fuse(module, adapter):
            module.forward = MethodType(_forward_of(adapter), module)
            fused += 1
    return fused


def _can_fuse(module: Any, adapter: str) -> bool:
    base = module.base_layer
    return (
        type(base) is nn.Linear
        and isinstance(module.lora_dropout[adapter], nn.Identity)
        and module.lora_A[adapter].weight.dtype == base.weight.dtype
        and not module.use_dora.get(adapter, False)
    )


def _forward_of(adapter: str) -> Any:
    def forward(self: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:
        base = self.base_layer
        a, b = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        result: Tensor = _LoraLinear.apply(x, base.weight, base.bias, a, b, self.scaling[adapter])
        return result

    return forward
