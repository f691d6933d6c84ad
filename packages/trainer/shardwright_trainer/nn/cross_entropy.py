"""Cross-entropy without ever keeping the logits of more than a few rows.

Legend: n learned tokens, h hidden size, v vocabulary, c rows of one chunk (`ceRows`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CHUNK_ROWS_DEFAULT = 256


def cross_entropy_sum(
    hidden_nh: Tensor, head: nn.Module, targets_n: Tensor, *, chunk_rows: int, softcap: float | None = None
) -> Tensor:
    """Σ −log p(target) over n rows, as an fp64 scalar.

    hidden_nh holds only the rows with a loss. The head may be frozen, tied to the embedding, or an adapted
    module.
    softcap: logits become softcap·tanh(logits / softcap). Gradients are formed in the forward pass, chunk
    by chunk, in fp32 from logits of the compute dtype; the loss of a chunk is rounded to fp32, chunks are
    added in fp64.
    """
    if hidden_nh.shape[0] == 0:
        return hidden_nh.sum(dtype=torch.float64) * 0.0
    if isinstance(head, nn.Linear) and head.bias is None:
        loss: Tensor = _LinearCrossEntropy.apply(hidden_nh, head.weight, targets_n, chunk_rows, softcap)
        return loss
    return _any_head(hidden_nh, head, targets_n, chunk_rows, softcap)


def _chunk_loss(logits_cv: Tensor, targets_c: Tensor, softcap: float | None) -> tuple[Tensor, Tensor]:
    """(loss sum in fp64, its fp32 gradient with respect to the logits); the memory of the logits is used
    up."""
    slope_cv: Tensor | None = None
    if softcap is not None:
        squashed_cv = torch.tanh_(logits_cv.div_(softcap))
        slope_cv = 1.0 - squashed_cv * squashed_cv
        logits_cv = squashed_cv * softcap
    normalizer_c = torch.logsumexp(logits_cv, dim=-1)
    at = targets_c.unsqueeze(1)
    loss = (normalizer_c - logits_cv.gather(1, at).squeeze(1)).sum(dtype=torch.float64)
    logits_cv.sub_(normalizer_c.unsqueeze(1)).exp_()
    logits_cv.scatter_add_(1, at, torch.full_like(at, -1.0, dtype=logits_cv.dtype))
    if slope_cv is not None:
        logits_cv.mul_(slope_cv)
    return loss, logits_cv


class _LinearCrossEntropy(torch.autograd.Function):
    """The usual head: one weight [v, h], no bias."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd.Function passes by position
        ctx: Any,
        hidden_nh: Tensor,
        weight_vh: Tensor,
        targets_n: Tensor,
        chunk_rows: int,
        softcap: float | None,
    ) -> Tensor:
        wants_hidden, wants_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        total = torch.zeros((), dtype=torch.float64, device=hidden_nh.device)
        d_hidden_nh = torch.empty_like(hidden_nh) if wants_hidden else None
        d_weight_vh = torch.zeros_like(weight_vh, dtype=torch.float32) if wants_weight else None
        for begin in range(0, hidden_nh.shape[0], chunk_rows):
            rows = slice(begin, begin + chunk_rows)
            hidden_ch = hidden_nh[rows]
            logits_cv = (hidden_ch @ weight_vh.t()).float()
            loss, d_logits_cv = _chunk_loss(logits_cv, targets_n[rows], softcap)
            total += loss
            if not (wants_hidden or wants_weight):
                continue
            d_logits_cv = d_logits_cv.to(hidden_nh.dtype)
            if d_hidden_nh is not None:
                torch.mm(d_logits_cv, weight_vh, out=d_hidden_nh[rows])
            if d_weight_vh is not None:
                _add_product(d_weight_vh, d_logits_cv, hidden_ch)
        ctx.weight_dtype = weight_vh.dtype
        ctx.save_for_backward(d_hidden_nh, d_weight_vh)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden_nh, d_weight_vh = ctx.saved_tensors
        scale = grads[0]
        scaled = [
            None if grad is None else grad * scale.to(grad.dtype) if scale.item() != 1.0 else grad
            for grad in (d_hidden_nh, d_weight_vh)
        ]
        weight = scaled[1]
        return scaled[0], None if weight is None else weight.to(ctx.weight_dtype), None, None, None


def _add_product(sum_vh: Tensor, d_logits_cv: Tensor, hidden_ch: Tensor) -> None:
    """sum += d_logitsᵀ · hidden, accumulated in fp32 whatever the compute dtype is."""
    if d_logits_cv.dtype == torch.float32:
        sum_vh.addmm_(d_logits_cv.t(), hidden_ch)
    else:
        sum_vh.add_(d_logits_cv.t() @ hidden_ch)


def _any_head(
    hidden_nh: Tensor, head: nn.Module, targets_n: Tensor, chunk_rows: int, softcap: float | None
) -> Tensor:
    """A head with a bias or an adapter: backward computes each chunk again instead of knowing the head's
    insides."""

    def chunk(hidden_ch: Tensor, targets_c: Tensor) -> Tensor:
        logits_cv: Tensor = head(hidden_ch).float()
        if softcap is not None:
            logits_cv = torch.tanh(logits_cv / softcap) * softcap
        return nn.functional.cross_entropy(logits_cv, targets_c, reduction="sum").double()

    total = torch.zeros((), dtype=torch.float64, device=hidden_nh.device)
    for begin in range(0, hidden_nh.shape[0], chunk_rows):
        rows = slice(begin, begin + chunk_rows)
        # Dropout inside an adapter is keyed, so computing again needs no saved generator state.
        part = checkpoint(
            chunk, hidden_nh[rows], targets_n[rows], use_reentrant=False, preserve_rng_state=False
        )
        total = total + part
    return total
