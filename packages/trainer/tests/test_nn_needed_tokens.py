"""Only the needed tokens are computed: the same losses and gradients, from fewer tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import OPENING_TOKENS, FakeData, a_config, gradient_into_tokens, save_model

from shardwright_trainer._proto.shardwright.v1 import plan_pb2
from shardwright_trainer.nn import needed_tokens as needed_module
from shardwright_trainer.nn.losses import MicroBatch, micro_batch
from shardwright_trainer.nn.model import TrainedModel, load_model
from shardwright_trainer.nn.needed_tokens import SHARED_TOKENS_MIN, NeededTokens, needed_tokens
from shardwright_trainer.plan.wire import recipe_from_pb
from shardwright_trainer.rank.engine_digest import recipe_sha256
from shardwright_trainer.rank.errors import UserError

CPU = torch.device("cpu")
FAMILIES_READ = ("llama", "qwen2", "gemma2", "gpt2", "mistral", "qwen3", "gemma")
ROWS = [FakeData(9, opening=OPENING_TOKENS).row(index) for index in range(3)]


def _load(folder: Path, family: str, **recipe: Any) -> TrainedModel:
    config = a_config(save_model(folder, family), method="full", family=family, recipe=recipe)
    return load_model(config, lambda _phase, _ratio: None)


def _loss_and_gradient(trained: TrainedModel, batch: MicroBatch) -> tuple[float, torch.Tensor]:
    for parameter in trained.parameters:
        parameter.grad = None
    loss = trained.loss_sum(batch, 16)
    torch.autograd.backward(loss)
    return float(loss.detach()), torch.cat([
        torch.zeros(parameter.numel()) if parameter.grad is None else parameter.grad.flatten()
        for parameter in trained.parameters
    ])  # fmt: skip


def _difference(trained: TrainedModel) -> float:
    """The larger relative difference of loss and gradient (in norm) between needed and all tokens."""
    whole, needed = (micro_batch(ROWS, 0, CPU, only_needed=only) for only in (False, True))
    (loss, gradient), (less_loss, less_gradient) = (
        _loss_and_gradient(trained, one) for one in (whole, needed)
    )
    off = (gradient - less_gradient).norm() / gradient.norm()
    return max(abs(loss - less_loss) / loss, float(off))


@pytest.mark.parametrize("checkpointing", ["none", "full"])
@pytest.mark.parametrize("family", FAMILIES_READ)
def test_losses_and_gradients_are_those_of_all_tokens(
    tmp_path: Path, family: str, checkpointing: str
) -> None:
    needed = micro_batch(ROWS, 0, CPU, only_needed=True)
    assert needed.shared_tokens >= OPENING_TOKENS
    assert len(needed.documents) > 3
    assert len(needed.tokens_t) < needed.processed_tokens - OPENING_TOKENS * (len(needed.documents) - 1)
    assert _difference(_load(tmp_path, family, gradient_checkpointing=checkpointing)) <= 1e-6


def _longer(sound: Callable[..., int]) -> Callable[..., int]:
    return lambda tokens, spans: sound(tokens, spans) + 1


def _shorter_documents(sound: Callable[..., int]) -> Callable[..., int]:
    return lambda is_target, begin, end: max(begin, sound(is_target, begin, end) - 1)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_an_opening_one_token_too_long_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    trained = _load(tmp_path, family)
    monkeypatch.setattr(needed_module, "_shared", _longer(needed_module._shared))
    assert _difference(trained) > 1e-4


def test_a_last_predecessor_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained = _load(tmp_path, "llama")
    monkeypatch.setattr(needed_module, "_end", _shorter_documents(needed_module._end))
    with pytest.raises(IndexError):
        _difference(trained)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_positions_that_restart_behind_the_opening_are_noticed(tmp_path: Path, family: str) -> None:
    trained, batch = _load(tmp_path, family), micro_batch(ROWS, 0, CPU, only_needed=True)
    loss, _ = _loss_and_gradient(trained, batch)
    batch.positions_t[batch.documents[0] :] -= batch.shared_tokens
    assert abs(_loss_and_gradient(trained, batch)[0] - loss) > 1e-3


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_gradients_cross_documents_in_the_opening_alone(tmp_path: Path, family: str) -> None:
    trained, batch = _load(tmp_path, family), micro_batch(ROWS, 0, CPU, only_needed=True)
    begin = sum(batch.documents[:2])
    end = begin + batch.documents[2]
    gradient_th = gradient_into_tokens(trained, batch, begin, end)
    reached = gradient_th.abs().amax(dim=1) > 0
    expected = torch.zeros(len(batch.tokens_t), dtype=torch.bool)
    expected[begin:end] = True
    expected[: batch.shared_tokens] = True
    if family == "gemma2":  # two layers, one of them with a window: all are reached through the other
        assert torch.equal(reached | expected, expected)
        assert reached[begin:end].all()
        assert reached[: batch.shared_tokens].any()
    else:
        assert torch.equal(reached, expected)


def _needed(documents: list[list[int]], targets: list[list[int]]) -> NeededTokens:
    tokens = np.array([token for document in documents for token in document], np.int64)
    is_target = np.zeros(len(tokens), np.bool_)
    starts = np.cumsum([0, *(len(document) for document in documents)])
    for start, places in zip(starts, targets, strict=False):
        is_target[[int(start) + place for place in places]] = True
    return needed_tokens(tokens, is_target, [len(document) for document in documents])


def test_the_opening_is_kept_once_and_what_follows_the_last_target_never() -> None:
    opening = list(range(10, 18))
    found = _needed([[*opening, 1, 2, 3], [5, 5], [*opening, 4, 2, 3, 9]], [[8, 10], [], [4, 10]])
    assert found.shared_tokens == 8
    assert found.documents == (10, 2)
    assert found.kept.tolist() == [*range(10), 21, 22]
    assert found.places.tolist() == [*range(10), -1, -1, -1, *range(8), 10, 11, -1, -1]


def test_a_short_opening_is_not_shared() -> None:
    opening = list(range(SHARED_TOKENS_MIN - 1))
    last = SHARED_TOKENS_MIN
    found = _needed([[*opening, 90, 91], [*opening, 92, 93]], [[last], [last]])
    assert found.shared_tokens == 0
    assert found.documents == (last, last)
    longer = _needed([[*opening, 89, 90, 91], [*opening, 89, 92, 93]], [[last + 1], [last + 1]])
    assert longer.shared_tokens == SHARED_TOKENS_MIN


def test_equal_documents_keep_a_token_each() -> None:
    document = list(range(12))
    found = _needed([document, document], [[11], [11]])
    assert found.shared_tokens == 10
    assert found.documents == (11, 1)


def test_documents_without_targets_leave_one_token_and_a_loss_of_zero(tmp_path: Path) -> None:
    assert _needed([[1, 2, 3], [4]], [[], []]).kept.tolist() == [0]

    class Row:
        tokens = np.arange(3, dtype=np.int32)
        learned = np.zeros(3, dtype=np.bool_)
        documents = (3,)
        example_ids = (7,)

    batch = micro_batch([Row()], 8, CPU, only_needed=True)
    loss, gradient = _loss_and_gradient(_load(tmp_path, "llama"), batch)
    assert (loss, int(torch.count_nonzero(gradient)), batch.processed_tokens) == (0.0, 0, 8)


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=14), min_size=1, max_size=4), st.data())
def test_a_place_holds_the_token_and_all_that_its_state_depends_on(
    tails: list[list[int]], data: st.DataObject
) -> None:
    opening = data.draw(st.sampled_from([[], [1] * 7, [0, 1] * 5]))
    documents = [[*opening, *tail] for tail in tails]
    targets = [
        sorted(data.draw(st.sets(st.integers(1, len(one) - 1)))) if len(one) > 1 else [] for one in documents
    ]
    found = _needed(documents, targets)
    assert sum(found.documents) == len(found.kept) == len(set(found.kept.tolist()))
    bounds = np.cumsum([0, *found.documents])
    start = 0
    for document, wanted in zip(documents, targets, strict=True):
        for target in wanted:
            place = int(found.places[start + target - 1])
            assert _context(found, bounds, place, documents) == document[:target]
        start += len(document)


def _context(
    found: NeededTokens, bounds: npt.NDArray[np.int64], place: int, documents: list[list[int]]
) -> list[int]:
    """The tokens that the state at a place of `kept` depends on, as attention would see them."""
    tokens = [token for document in documents for token in document]
    own = int(np.searchsorted(bounds, place, side="right")) - 1
    kept = found.kept[bounds[own] : place + 1].tolist()
    shared = found.kept[: found.shared_tokens].tolist() if own > 0 else []
    return [tokens[index] for index in [*shared, *kept]]


def test_dropout_and_unknown_words_are_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "drops", "gpt2", attn_pdrop=0.1)
    attention = save_model(tmp_path / "attention", "llama", attention_dropout=0.1)
    plain = save_model(tmp_path / "plain", "llama")
    for config in (
        a_config(folder, recipe={"computed_tokens": "needed"}),
        a_config(attention, recipe={"computed_tokens": "needed"}),
        a_config(plain, recipe={"computed_tokens": "needed"}, tuning={"dropout": 0.1}),
    ):
        with pytest.raises(UserError, match="drops activations"):
            load_model(config, lambda _phase, _ratio: None)
    with pytest.raises(UserError, match="'some'; expected all or needed"):
        load_model(a_config(plain, recipe={"computed_tokens": "some"}), lambda _phase, _ratio: None)


def test_the_digest_tells_needed_from_all_and_keeps_what_older_recipes_had() -> None:
    whole, needed = (a_config("", recipe={"computed_tokens": word}).recipe for word in ("all", "needed"))
    assert recipe_sha256(whole, "f") != recipe_sha256(needed, "f")
    assert recipe_sha256(whole, "f") == _digest_before_the_field(whole)


def test_a_plan_without_the_word_computes_all() -> None:
    assert recipe_from_pb(plan_pb2.Recipe()).computed_tokens == "all"
    assert recipe_from_pb(plan_pb2.Recipe(computed_tokens="needed")).computed_tokens == "needed"


def _digest_before_the_field(recipe: Any) -> str:
    """As every release before computed_tokens made it: the fields it had."""
    import hashlib
    import json

    names = (
        "attention", "compute_dtype", "cross_entropy_rows", "device_type", "lanes", "micro_batch_rows",
        "micro_batches_per_lane", "optimizer_implementation", "row_tokens", "threads_per_rank", "wire_dtype",
    )  # fmt: skip
    facts = {
        "model": "f",
        "recipe": {name: getattr(recipe, name) for name in names},
        "torch": torch.__version__,
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
