"""Attention over packed rows: documents never see one another, and no mask tensor is ever built.

Legend: h query heads, kv key-value heads, t tokens of the row, d head size.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NAME = "shardwright"
"""Attention implementation to load a model with. It is not registered as a mask function: transformers then
builds no mask and passes None."""

MATH_NAME = "shardwright_math"
"""The same by a dense product per document: exact soft-capping and sliding windows, quadratic memory."""


def register() -> None:
    """Makes both names known to transformers; calling it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    AttentionInterface.register(MATH_NAME, attend_math)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    documents: Sequence[int] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query [1, h, t, d], key and value [1, kv, t, d] → ([1, t, h, d], None).

    documents: lengths of the packed documents, in order, summing to t. ValueError for what this path cannot
    compute exactly: soft-capping, attention sinks, a document longer than the model's sliding window.
    """
    lengths = _documents(query, attention_mask, documents)
    _refuse_sinks(module)
    if softcap is not None:
        raise ValueError("this model caps its attention scores (softcap): the plan must say attention: math")
    if sliding_window is not None and max(lengths) > sliding_window:
        raise ValueError(
            f"a document of {max(lengths)} tokens is longer than the sliding window of {sliding_window}: "
            "the plan must say attention: math"
        )
    _seed_dropout(module, dropout)
    if query.is_cuda and dropout == 0.0 and len(lengths) > 1 and _varlen() is not None:
        return _attend_varlen(query, key, value, lengths, scaling), None
    grouped = query.shape[1] != key.shape[1]
    parts = [
        F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=grouped
        )
        for q, k, v in _per_document(query, key, value, lengths)
    ]
    return _joined(parts), None


def attend_math(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    documents: Sequence[int] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """As `attend`, with soft-capping and sliding windows; one dense [h, t, t] product per document."""
    lengths = _documents(query, attention_mask, documents)
    _refuse_sinks(module)
    _seed_dropout(module, dropout)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    groups = query.shape[1] // key.shape[1]
    parts: list[Tensor] = []
    for q, k, v in _per_document(query, key, value, lengths):
        if groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)  # noqa: PLW2901
        scores_htt = torch.matmul(q, k.transpose(2, 3)) * scale
        if softcap is not None:
            scores_htt = torch.tanh(scores_htt / softcap) * softcap
        scores_htt = scores_htt.masked_fill(_hidden(q.shape[2], sliding_window, q.device), float("-inf"))
        weights_htt = torch.softmax(scores_htt, dim=-1, dtype=torch.float32).to(q.dtype)
        if dropout > 0.0:
            weights_htt = F.dropout(weights_htt, dropout)
        parts.append(torch.matmul(weights_htt, v))
    return _joined(parts), None


def _documents(
    query: Tensor, attention_mask: Tensor | None, documents: Sequence[int] | None
) -> Sequence[int]:
    if attention_mask is not None:
        raise ValueError("an attention mask was passed; rows are packed or padded on the right and need none")
    lengths = [query.shape[2]] if documents is None else documents
    if query.shape[0] != 1 or sum(lengths) != query.shape[2] or min(lengths) <= 0:
        raise ValueError(
            f"documents {list(lengths)} do not fill one row: got {query.shape[0]} of {query.shape[2]} tokens"
        )
    return lengths


def _refuse_sinks(module: nn.Module) -> None:
    if getattr(module, "sinks", None) is not None:
        raise ValueError(f"{type(module).__name__} uses attention sinks, which are not supported")


def _seed_dropout(module: nn.Module, dropout: float) -> None:
    """Attention dropout draws from the global generator: key it for this place and micro-batch."""
    if dropout > 0.0:
        context = getattr(module, "dropout_context", None)
        if context is None:
            raise ValueError("attention dropout needs a keyed context: load the model with load_model")
        torch.manual_seed(context.key(f"attention {getattr(module, 'layer_idx', None)}"))


def _per_document(
    query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int]
) -> zip[tuple[Tensor, ...]]:
    if len(lengths) == 1:
        return zip((query,), (key,), (value,), strict=True)
    sizes = list(lengths)
    return zip(*(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=True)


def _joined(parts: list[Tensor]) -> Tensor:
    """Outputs [1, h, t_i, d] of the documents → [1, t, h, d]."""
    if len(parts) == 1:
        return parts[0].transpose(1, 2)
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1)


def _hidden(t: int, sliding_window: int | None, device: torch.device) -> Tensor:
    """[t, t], true where a query must not see a key: later ones, and those out of the window."""
    ones = torch.ones(t, t, dtype=torch.bool, device=device)
    hidden = ones.triu(1)
    return hidden if sliding_window is None else hidden | ones.tril(-sliding_window)


def _varlen() -> Any | None:
    """torch.nn.attention.varlen.varlen_attn where this torch has it (2.10 and later, CUDA only)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def _attend_varlen(
    query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scaling: float | None
) -> Tensor:
    varlen_attn = _varlen()
    assert varlen_attn is not None
    known = inspect.signature(varlen_attn).parameters
    q_thd, k_thd, v_thd = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
    options: dict[str, Any] = {"scale": scaling}
    # The causal flag became a window between torch 2.10 and 2.11; grouped heads came later still.
    options |= {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if q_thd.shape[1] != k_thd.shape[1]:
        if "enable_gqa" in known:
            options["enable_gqa"] = True
        else:
            groups = q_thd.shape[1] // k_thd.shape[1]
            k_thd, v_thd = k_thd.repeat_interleave(groups, dim=1), v_thd.repeat_interleave(groups, dim=1)
    bounds = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    bounds[1:] = torch.tensor(lengths, dtype=torch.int32).cumsum(0)
    bounds = bounds.to(query.device)
    out_thd: Tensor = varlen_attn(q_thd, k_thd, v_thd, bounds, bounds, max(lengths), max(lengths), **options)
    return out_thd.unsqueeze(0)
