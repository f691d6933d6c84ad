"""Our attention: documents are isolated, and each model computes what the stock implementation computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import FAMILIES, FakeData, a_config, gradient_into_tokens, save_model
from torch import nn

from shardwright_trainer.nn.attention import attend, attend_math
from shardwright_trainer.nn.losses import MicroBatch, micro_batch
from shardwright_trainer.nn.model import TrainedModel, load_model

CPU = torch.device("cpu")
FAMILIES_READ = (*FAMILIES, "mistral", "qwen3", "gemma")


def _load(folder: Path, family: str, **recipe: Any) -> TrainedModel:
    config = a_config(save_model(folder, family), method="full", family=family, recipe=recipe)
    return load_model(config, lambda _phase, _ratio: None)


def _batch(rows: int = 3, row_tokens: int = 0) -> MicroBatch:
    return micro_batch([FakeData(9).row(index) for index in range(rows)], row_tokens, CPU)


def _logits(trained: TrainedModel, hidden_th: torch.Tensor) -> torch.Tensor:
    logits_tv: torch.Tensor = trained.head(hidden_th)
    return logits_tv if trained.softcap is None else torch.tanh(logits_tv / trained.softcap) * trained.softcap


@pytest.mark.parametrize("family", FAMILIES_READ)
def test_packed_logits_are_those_of_the_stock_model_alone(tmp_path: Path, family: str) -> None:
    from transformers import AutoModelForCausalLM

    trained, batch = _load(tmp_path, family), _batch()
    implementations = ["eager"] if family == "gemma2" else ["eager", "sdpa"]
    assert len(batch.documents) > 3
    with torch.no_grad():
        packed = _logits(trained, trained.hidden(batch))
        for implementation in implementations:
            stock = AutoModelForCausalLM.from_pretrained(str(tmp_path), attn_implementation=implementation)
            alone = [
                stock(input_ids=one.unsqueeze(0)).logits[0]
                for one in torch.split(batch.tokens_t, list(batch.documents))
            ]
            assert (packed - torch.cat(alone)).abs().max() <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_no_gradient_crosses_documents(tmp_path: Path, family: str) -> None:
    trained, batch = _load(tmp_path, family), _batch()
    begin = sum(batch.documents[:2])
    end = begin + batch.documents[2]
    gradient_th = gradient_into_tokens(trained, batch, begin, end)
    assert gradient_th[begin:end].abs().max() > 0
    assert torch.count_nonzero(gradient_th[:begin]) == 0
    assert torch.count_nonzero(gradient_th[end:]) == 0


def test_padding_changes_nothing(tmp_path: Path) -> None:
    trained = _load(tmp_path, "llama")
    plain, padded = _batch(), _batch(row_tokens=50)
    assert padded.processed_tokens == 150
    assert torch.equal(plain.targets_n, padded.targets_n)
    losses = [float(trained.loss_sum(batch, 16).detach()) for batch in (plain, padded)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_both_paths_agree_where_both_apply() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 12, 8), torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    for documents in ((12,), (5, 7), (1, 1, 10)):
        flash, _ = attend(nn.Module(), q, k, v, None, documents=documents, scaling=0.3)
        dense, _ = attend_math(nn.Module(), q, k, v, None, documents=documents, scaling=0.3)
        assert flash.shape == dense.shape == (1, 12, 4, 8)
        assert (flash - dense).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("shared", "own"), [(5, (3, 1, 9)), (20, (7,)), (40, (500,)), (600, (9, 30)), (512, (1,))]
)
def test_a_shared_opening_is_attended_to_as_if_each_document_had_it(
    shared: int, own: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    first, lengths = shared + 4, tuple(shared + length for length in own)
    whole = torch.randn(3, 4, first + sum(lengths), 8)
    starts = [first + sum(lengths[:at]) for at in range(len(own))]
    for start in starts:
        whole[:, :, start : start + shared] = whole[:, :, :shared]
    kept = [*range(first), *(at for start, end in zip(starts, lengths, strict=True)
                             for at in range(start + shared, start + end))]  # fmt: skip
    q, k, v = whole[0:1], whole[1:2, :2], whole[2:3, :2]
    less = [tensor[:, :, kept] for tensor in (q, k, v)]
    for path, options in (
        (attend, {}),
        (attend_math, {}),
        (attend_math, {"sliding_window": 4, "softcap": 2.0}),
    ):
        expected, _ = path(nn.Module(), q, k, v, None, documents=(first, *lengths), **options)
        found, _ = path(nn.Module(), *less, None, documents=(first, *own), shared_tokens=shared, **options)
        assert (found - expected[:, kept]).abs().max() <= 1e-6


def test_what_cannot_be_computed_exactly_is_refused() -> None:
    q = torch.randn(1, 2, 6, 8)
    module = nn.Module()
    with pytest.raises(ValueError, match="mask"):
        attend(module, q, q, q, torch.ones(1, 6))
    with pytest.raises(ValueError, match="softcap"):
        attend(module, q, q, q, None, softcap=5.0)
    with pytest.raises(ValueError, match="sliding window of 4"):
        attend(module, q, q, q, None, sliding_window=4)
    attend(module, q, q, q, None, sliding_window=4, documents=(4, 2))
    with pytest.raises(ValueError, match="document of 5 tokens is longer than the sliding window of 4"):
        attend(module, q, q, q, None, sliding_window=4, documents=(4, 2), shared_tokens=3)
    with pytest.raises(ValueError, match="5 shared tokens do not fit the first document, of 4"):
        attend_math(module, q, q, q, None, documents=(4, 2), shared_tokens=5)
    with pytest.raises(ValueError, match="do not fill"):
        attend_math(module, q, q, q, None, documents=(4, 3))
    sinks = nn.Module()
    sinks.sinks = nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="sinks"):
        attend(sinks, q, q, q, None)


def test_a_learned_token_that_opens_a_document_has_no_loss() -> None:
    class Row:
        tokens = np.arange(5, dtype=np.int32)
        learned = np.ones(5, dtype=np.bool_)
        documents = (2, 3)
        example_ids = (7, 8)

    batch = micro_batch([Row(), Row()], 0, CPU)
    assert batch.positions_t.tolist() == [0, 1, 0, 1, 2, 0, 1, 0, 1, 2]
    assert batch.predecessors_n.tolist() == [0, 2, 3, 5, 7, 8]
    assert batch.targets_n.tolist() == [1, 3, 4, 1, 3, 4]
    assert batch.example_ids == (7, 8, 7, 8)
    with pytest.raises(ValueError, match="5 tokens does not fit rows of 4"):
        micro_batch([Row()], 4, CPU)
