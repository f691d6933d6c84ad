"""Attention over packed rows: documents never see one another, and no mask tensor is ever built.

Where documents of a row open alike, what they share may be computed once (nn/needed_tokens.py): the first
document is whole, the others are what follows the opening and attend to its keys and values in the first.

Legend: h query heads, kv key-value heads, t tokens of the row, d head size, q queries and k keys of a
document.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NAME = "shardwright"
"""Attention implementation to load a model with. It is not registered as a mask function: transformers then
builds no mask and passes None."""

MATH_NAME = "shardwright_math"
"""The same by a dense product per document: exact soft-capping and sliding windows, quadratic memory."""

TRIANGLE_TOKENS = 512
"""Up to this many keys a mask over a document's own queries is faster than queries of zeros for the shared
opening (fp32, 9 heads of 64: 0.76 against 1.01 ms with 28 + 73 tokens, 124 against 81 ms with 28 + 1500). One
constant of 1 MiB in fp32 serves every layer and document."""


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
    shared_tokens: int = 0,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query [1, h, t, d], key and value [1, kv, t, d] → ([1, t, h, d], None).

    documents: lengths of the packed documents, in order, summing to t. shared_tokens: all but the first
    follow the first one's opening of this length and are given without it. ValueError for what this path
    cannot compute exactly: soft-capping, attention sinks, a document longer than the model's sliding window.
    """
    lengths = _documents(query, attention_mask, documents, shared_tokens)
    _refuse_sinks(module)
    if softcap is not None:
        raise ValueError("this model caps its attention scores (softcap): the plan must say attention: math")
    longest = max([lengths[0], *(shared_tokens + length for length in lengths[1:])])
    if sliding_window is not None and longest > sliding_window:
        raise ValueError(
            f"a document of {longest} tokens is longer than the sliding window of {sliding_window}: "
            "the plan must say attention: math"
        )
    _seed_dropout(module, dropout)
    may_vary = query.is_cuda and dropout == 0.0 and shared_tokens == 0
    if may_vary and len(lengths) > 1 and _varlen() is not None:
        return _attend_varlen(query, key, value, lengths, scaling), None
    options = {"scale": scaling, "dropout_p": dropout, "enable_gqa": query.shape[1] != key.shape[1]}
    parts = [
        _causal(q, k, v, options) for q, k, v in _per_document(query, key, value, lengths, shared_tokens)
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
    shared_tokens: int = 0,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """As `attend`, with soft-capping and sliding windows; one dense [h, q, k] product per document."""
    lengths = _documents(query, attention_mask, documents, shared_tokens)
    _refuse_sinks(module)
    _seed_dropout(module, dropout)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    groups = query.shape[1] // key.shape[1]
    parts: list[Tensor] = []
    for q, k, v in _per_document(query, key, value, lengths, shared_tokens):
        if groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)  # noqa: PLW2901
        scores_hqk = torch.matmul(q, k.transpose(2, 3)) * scale
        if softcap is not None:
            scores_hqk = torch.tanh(scores_hqk / softcap) * softcap
        scores_hqk = scores_hqk.masked_fill(
            _hidden(q.shape[2], k.shape[2], sliding_window, q.device), float("-inf")
        )
        weights_hqk = torch.softmax(scores_hqk, dim=-1, dtype=torch.float32).to(q.dtype)
        if dropout > 0.0:
            weights_hqk = F.dropout(weights_hqk, dropout)
        parts.append(torch.matmul(weights_hqk, v))
    return _joined(parts), None


def _documents(
    query: Tensor, attention_mask: Tensor | None, documents: Sequence[int] | None, shared_tokens: int
) -> Sequence[int]:
    if attention_mask is not None:
        raise ValueError("an attention mask was passed; rows are packed or padded on the right and need none")
    lengths = [query.shape[2]] if documents is None else documents
    if query.shape[0] != 1 or sum(lengths) != query.shape[2] or min(lengths) <= 0:
        raise ValueError(
            f"documents {list(lengths)} do not fill one row: got {query.shape[0]} of {query.shape[2]} tokens"
        )
    if not 0 <= shared_tokens <= lengths[0]:
        raise ValueError(
            f"{shared_tokens} shared tokens do not fit the first document, of {lengths[0]} tokens"
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
    query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], shared_tokens: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Queries, keys and values of each document; of the later ones the shared keys and values come first."""
    if len(lengths) == 1:
        yield query, key, value
        return
    sizes = list(lengths)
    own = zip(*(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=True)
    yield next(own)
    if shared_tokens == 0:
        yield from own
        return
    # Cut once, so that the gradients of all documents are added up before they are laid into the row.
    shared_key, shared_value = key[:, :, :shared_tokens], value[:, :, :shared_tokens]
    for q, k, v in own:
        yield q, torch.cat((shared_key, k), dim=2), torch.cat((shared_value, v), dim=2)


def _causal(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
    """[1, h, q, d]: the queries are the last ones of as many as there are keys. The kernel's own causal flag
    lines up the first query with the first key, so it serves only where there are as many queries as keys."""
    shared = k.shape[2] - q.shape[2]
    if shared == 0:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, **options)
    if k.shape[2] <= TRIANGLE_TOKENS:
        mask_qk = _triangle(q.dtype, q.device)[shared : k.shape[2], : k.shape[2]]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask_qk, **options)
    if shared >= q.shape[2]:
        mask_qk = ~_hidden(q.shape[2], k.shape[2], None, q.device)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask_qk, **options)
    padded = F.pad(q, (0, 0, shared, 0))
    return F.scaled_dot_product_attention(padded, k, v, is_causal=True, **options)[:, :, shared:]


@lru_cache(maxsize=4)
def _triangle(dtype: torch.dtype, device: torch.device) -> Tensor:
    """[TRIANGLE_TOKENS, TRIANGLE_TOKENS]: 0 where query i sees key j <= i, else -inf."""
    full = torch.full((TRIANGLE_TOKENS, TRIANGLE_TOKENS), float("-inf"), dtype=dtype, device=device)
    return full.triu_(1)


def _joined(parts: list[Tensor]) -> Tensor:
    """Outputs [1, h, t_i, d] of the documents → [1, t, h, d]."""
    if len(parts) == 1:
        return parts[0].transpose(1, 2)
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1)


def _hidden(queries: int, keys: int, sliding_window: int | None, device: torch.device) -> Tensor:
    """[q, k], true where one of the last `queries` of `keys` tokens must not see a key: later ones, and those
    out of the window."""
    ones, shared = torch.ones(queries, keys, dtype=torch.bool, device=device), keys - queries
    hidden = ones.triu(shared + 1)
    return hidden if sliding_window is None else hidden | ones.tril(shared - sliding_window)


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
