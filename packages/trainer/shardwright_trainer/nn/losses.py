"""Micro-batches: rows of the prepared data as one row of packed documents, and the sum of its losses.

Legend: t computed tokens of the micro-batch, n tokens of it with a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardwright_trainer.nn.needed_tokens import needed_tokens


class Row(Protocol):
    """One row of the prepared data: packed documents."""

    @property
    def tokens(self) -> npt.NDArray[np.int32]: ...
    @property
    def learned(self) -> npt.NDArray[np.bool_]: ...
    @property
    def documents(self) -> tuple[int, ...]: ...
    @property
    def example_ids(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Rows laid one after another in one row of t tokens; positions restart with every document, after the
    shared opening where there is one."""

    tokens_t: Tensor
    positions_t: Tensor
    documents: tuple[int, ...]
    """Lengths that sum to t; padding is a document of its own at the end of each row, which nothing learns
    from."""
    shared_tokens: int
    """Documents after the first follow the first one's opening of this length; 0: none do."""
    predecessors_n: Tensor
    """Index of the token whose hidden state predicts target i."""
    targets_n: Tensor
    example_ids: tuple[int, ...]
    processed_tokens: int
    """Of the rows as they are, padding included: t where all tokens are computed, more than t else."""


def micro_batch(
    rows: Sequence[Row], row_tokens: int, device: torch.device, *, only_needed: bool = False
) -> MicroBatch:
    """Lays rows out. row_tokens > 0: each row is filled up to that length, so that shapes do not depend on
    the data. only_needed: leaves out what nn/needed_tokens.py says; not for a model with dropout, whose
    documents each drop something else from a shared opening.

    A learned token that opens a document has no predecessor and no loss. ValueError when a row is longer than
    row_tokens.
    """
    tokens: list[npt.NDArray[np.int64]] = []
    learned: list[npt.NDArray[np.bool_]] = []
    documents: list[int] = []
    for row in rows:
        length = len(row.tokens)
        tokens.append(row.tokens.astype(np.int64))
        learned.append(np.array(row.learned, dtype=np.bool_))
        documents += row.documents
        if row_tokens and length > row_tokens:
            raise ValueError(f"a row of {length} tokens does not fit rows of {row_tokens}")
        if row_tokens > length:
            tokens.append(np.zeros(row_tokens - length, dtype=np.int64))
            learned.append(np.zeros(row_tokens - length, dtype=np.bool_))
            documents.append(row_tokens - length)
    all_tokens, all_learned = np.concatenate(tokens), np.concatenate(learned)
    starts = np.cumsum([0, *documents[:-1]])
    all_learned[starts] = False
    targets = np.flatnonzero(all_learned)
    positions = np.arange(len(all_tokens), dtype=np.int64) - np.repeat(starts, documents)
    kept: npt.NDArray[np.int64] | slice = slice(None)
    lengths, shared, predecessors = tuple(documents), 0, targets - 1
    if only_needed:
        needed = needed_tokens(all_tokens, all_learned, documents)
        kept, lengths, shared = needed.kept, needed.documents, needed.shared_tokens
        predecessors = needed.places[predecessors]
    return MicroBatch(
        tokens_t=torch.from_numpy(all_tokens[kept]).to(device),
        positions_t=torch.from_numpy(positions[kept]).to(device),
        documents=lengths,
        shared_tokens=shared,
        predecessors_n=torch.from_numpy(predecessors).to(device),
        targets_n=torch.from_numpy(all_tokens[targets]).to(device),
        example_ids=tuple(int(example) for row in rows for example in row.example_ids),
        processed_tokens=len(all_tokens),
    )
