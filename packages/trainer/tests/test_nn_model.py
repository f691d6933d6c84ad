"""Model folders: what is loaded, how it is laid out, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import FakeData, a_config, save_model

from shardwright_trainer.nn.losses import micro_batch
from shardwright_trainer.nn.model import TrainedModel, load_model
from shardwright_trainer.nn.rng import key_of, uniform
from shardwright_trainer.plan.config import RankConfig
from shardwright_trainer.rank.errors import UserError


def _load(config: RankConfig) -> TrainedModel:
    return load_model(config, lambda _phase, _ratio: None)


def test_parameters_are_views_of_one_buffer_in_order(tmp_path: Path) -> None:
    trained = _load(a_config(save_model(tmp_path, "llama"), method="full"))
    assert [tensor.fqn for tensor in trained.layout.tensors] == [
        name for name, _ in trained.model.named_parameters()
    ]
    for tensor, parameter in zip(trained.layout.tensors, trained.parameters, strict=True):
        assert parameter.data_ptr() == trained.flat.data_ptr() + 4 * tensor.begin
    before = trained.flat.clone()
    trained.flat.add_(1.0)
    trained.reset()
    assert torch.equal(trained.flat, before)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_are_listed_once(tmp_path: Path, tied: bool) -> None:
    trained = _load(a_config(save_model(tmp_path, "llama", tied=tied), method="full"))
    assert ("lm_head.weight" in [tensor.fqn for tensor in trained.layout.tensors]) is not tied
    assert (trained.head.weight.data_ptr() == trained.model.get_input_embeddings().weight.data_ptr()) is tied  # type: ignore[operator]


def test_adapters_have_stored_names_and_change_nothing_at_first(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "gpt2")
    adapted, base = _load(a_config(folder)), _load(a_config(folder, method="full"))
    names = [tensor.fqn for tensor in adapted.layout.tensors]
    assert names[:2] == [
        "transformer.h.0.attn.c_attn.lora_A.weight",
        "transformer.h.0.attn.c_attn.lora_B.weight",
    ]
    assert not any("lm_head" in name for name in names)
    batch = micro_batch([FakeData(9).row(0)], 0, torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(adapted.hidden(batch), base.hidden(batch))
    assert adapted.lora is not None
    assert adapted.lora["fan_in_fan_out"] is True
    assert adapted.lora["scale"] == 2.0
    assert adapted.lora["target_modules"] == ["c_attn", "c_fc", "c_proj"]


def test_adapter_values_depend_on_seed_and_name_alone(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "llama")
    some = _load(a_config(folder, tuning={"targets": ["v_proj", "q_proj"]}))
    more = _load(a_config(folder))
    other = _load(a_config(folder, train={"seed": 12}))
    fqn = "model.layers.1.self_attn.v_proj.lora_A.weight"
    assert np.array_equal(_values(some, fqn), _values(more, fqn))
    assert not np.array_equal(_values(more, fqn), _values(other, fqn))
    values = _values(more, fqn)
    assert np.abs(values).max() <= 32**-0.5
    assert values.std() == pytest.approx((3 * 32) ** -0.5, rel=0.15)


def test_uniform_numbers_are_fixed_for_ever() -> None:
    """A change of these numbers would change every job that resumes from step 0."""
    assert key_of(17, "init", "a") != key_of(17, "init", "b")
    values = uniform(17, "model.layers.0.self_attn.q_proj.lora_A.weight", 100_000, 0.125)
    assert values.dtype == np.float32
    assert values[:3].tolist() == [0.03319655358791351, -0.11151988804340363, 0.026054874062538147]
    assert abs(values).max() <= 0.125
    assert values.std() == pytest.approx(0.0721688, rel=5e-3)


@pytest.mark.parametrize(("targets", "said"), [
    (["q_prj"], "did you mean q_proj"),
    (["q_proj", "attention", "embed_tokens"], "no linear module named 'attention'"),
    ([], "empty list"),
])  # fmt: skip
def test_unknown_targets_are_named(tmp_path: Path, targets: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        _load(a_config(save_model(tmp_path, "llama"), tuning={"targets": targets}))


def test_the_output_head_can_be_adapted(tmp_path: Path) -> None:
    trained = _load(
        a_config(save_model(tmp_path, "llama", tied=False), tuning={"targets": ["lm_head", "q_proj"]})
    )
    loss = trained.loss_sum(micro_batch([FakeData(9).row(0)], 0, torch.device("cpu")), 4)
    torch.autograd.backward(loss)
    assert "lm_head.lora_A.weight" in [tensor.fqn for tensor in trained.layout.tensors]
    assert all(parameter.grad is not None for parameter in trained.parameters)


def _edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _long_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _drop_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.norm.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _escape(folder: Path) -> None:
    table = {"weight_map": {"model.norm.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(table))


@pytest.mark.parametrize(("damage", "code", "said"), [
    (_truncate, "ModelUnreadable", "model.safetensors is damaged or cut short"),
    (_long_header, "ModelUnreadable", "model.safetensors is damaged"),
    (_pickle, "ModelIsPickle", "pytorch_model.bin is a pickle"),
    (_drop_tensor, "ModelTensorMissing", "model.norm.weight"),
    (_escape, "ModelUnreadable", "outside.safetensors"),
    (lambda folder: (folder / "config.json").write_text("{"), "ModelUnreadable", "config.json is not JSON"),
    (lambda folder: (folder / "config.json").unlink(), "ModelMissing", "config.json does not exist"),
    (lambda folder: _edit_config(folder, model_type="made-up"), "ModelUnsupported", "known gemma"),
    (lambda folder: _edit_config(folder, auto_map={"AutoModel": "x.Y"}), "ModelNeedsCode", "never run"),
    (lambda folder: _edit_config(folder, hidden_size=64), "ModelUnreadable", "cannot be loaded"),
])  # fmt: skip
def test_bad_folders_are_refused_by_name(tmp_path: Path, damage: Any, code: str, said: str) -> None:
    folder = save_model(tmp_path / "model", "llama")
    damage(Path(folder))
    with pytest.raises(UserError) as caught:
        _load(a_config(folder))
    assert caught.value.code == code
    assert said in str(caught.value)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(UserError, match="/nowhere/at/all does not exist"):
        _load(a_config("/nowhere/at/all"))


def _values(trained: TrainedModel, fqn: str) -> Any:
    tensor = next(tensor for tensor in trained.layout.tensors if tensor.fqn == fqn)
    return trained.flat[tensor.begin : tensor.end].numpy()
