"""Exports load in vanilla peft and transformers and compute what the trainer's weights compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, inject_adapter_in_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from shardwright_trainer.files import export_tensors
from shardwright_trainer.files.canonical_json import canonical_bytes, sha256_name
from shardwright_trainer.files.export import REFUSED_EXIT, main
from shardwright_trainer.files.export_dtypes import from_fp32
from shardwright_trainer.plan.config import FlatLayout
from tests.files_checkpoint_run import KINDS, State, a_layout, a_map, commit

R, ALPHA = 4, 8
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]])


def llama() -> PreTrainedModel:
    torch.manual_seed(1)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False,
        )
    ).eval()  # fmt: skip


def gpt2() -> PreTrainedModel:
    torch.manual_seed(2)
    return GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64)).eval()


MODELS = {"llama": (llama, ["q_proj", "down_proj"]), "gpt2": (gpt2, ["c_attn", "c_proj"])}


class Tuned:
    """A base on disk, a trained model in memory, and its checkpoint."""

    def __init__(self, tmp: Path, name: str, *, full: bool = False) -> None:
        make, targets = MODELS[name]
        self.base = tmp / "base"
        make().save_pretrained(self.base)
        (self.base / "tokenizer.json").write_text('{"version":"1.0"}')
        self.model = make()
        self.run = tmp / "run"
        named = self._tune_all() if full else self._adapt(targets, transposed=name == "gpt2")
        self.names = list(named)
        self.layout: FlatLayout = a_layout(*(tuple(t.shape) for t in named.values()), names=self.names)
        flat = torch.cat([t.detach().flatten() for t in named.values()]).numpy()
        state: State = {kind: np.zeros_like(flat) for kind in KINDS}
        state["master"] = flat
        blocks = -(-flat.size // 256)
        owners = [(block % 2,) for block in range(blocks)]
        self.key = commit(self.run, self.layout, a_map(flat.size, 256, owners), state)
        self.logits = self.model(TOKENS).logits.detach()

    def _adapt(self, targets: list[str], *, transposed: bool) -> dict[str, torch.Tensor]:
        inject_adapter_in_model(
            LoraConfig(r=R, lora_alpha=ALPHA, target_modules=targets, fan_in_fan_out=transposed), self.model
        )
        named = {n: p for n, p in self.model.named_parameters() if "lora_" in n}
        with torch.no_grad():
            for parameter in named.values():
                parameter.normal_(std=0.1)
        return {n.replace(".default.", "."): p for n, p in named.items()}

    def _tune_all(self) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        return dict(self.model.named_parameters())

    def plan(self, out: Path, **over: Any) -> dict[str, Any]:
        files = {p.name: sha256_name(p.read_bytes()) for p in self.base.glob("*.safetensors")}
        plan: dict[str, Any] = {
            "v": 1, "run_directory": f"file://{self.run}", "commit": self.key, "output_directory": str(out),
            "format": "peft", "merge": False, "dtype": "stored",
            "base": {"directory": str(self.base), "files": files},
            "tensors": [], "merges": [], "scale": ALPHA / R, "transposed": False, "copy": ["tokenizer.json"],
            "write": {}, "shard_bytes_max": 5_000_000_000,
            "source": {"run": "r", "commit": self.key, "merkle": "m"},
        }  # fmt: skip
        return {**plan, **over}

    def merges(self) -> list[dict[str, str]]:
        modules = [n.removesuffix(".lora_A.weight") for n in self.names if n.endswith(".lora_A.weight")]
        return [
            {"weight": f"{m}.weight", "a": f"{m}.lora_A.weight", "b": f"{m}.lora_B.weight"} for m in modules
        ]


def run_export(tmp: Path, plan: dict[str, Any]) -> int:
    path = tmp / "plan.json"
    path.write_bytes(canonical_bytes(plan))
    return main(["--plan", str(path)])


@pytest.mark.parametrize("name", MODELS)
def test_an_adapter_loads_in_vanilla_peft(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned, out = Tuned(tmp_path, name), tmp_path / "out"
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(tuned.base),
        "revision": None, "modules_to_save": None,
        "inference_mode": True, "r": R, "lora_alpha": float(ALPHA), "lora_dropout": 0.0, "bias": "none",
        "target_modules": MODELS[name][1], "fan_in_fan_out": name == "gpt2", "use_rslora": False,
        "use_dora": False,
    }  # fmt: skip
    tensors = [{"name": f"base_model.model.{n}", "fqn": n} for n in tuned.names]
    template = {"name": "base", "text": "{{ x }}"}
    write = {"adapter_config.json": config, "shardwright_template.json": template}
    assert run_export(tmp_path, tuned.plan(out, tensors=tensors, write=write)) == 0
    base = AutoModelForCausalLM.from_pretrained(tuned.base)
    logits = PeftModel.from_pretrained(base, str(out)).eval()(TOKENS).logits
    assert (logits - tuned.logits).abs().max() <= 1e-5
    assert {p.name for p in out.iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "shardwright_template.json", "tokenizer.json",
        "export.json",
    }  # fmt: skip
    assert json.loads((out / "shardwright_template.json").read_text()) == template
    receipt = json.loads((out / "export.json").read_text())
    assert set(receipt["tensors"]) == {f"base_model.model.{n}" for n in tuned.names}
    assert receipt["source"]["commit"] == tuned.key
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1] == {"kind": "done"} and events[-2]["bytes_done"] == events[-2]["bytes_total"]


@pytest.mark.parametrize("name", MODELS)
def test_merged_weights_load_in_transformers(tmp_path: Path, name: str) -> None:
    tuned, out = Tuned(tmp_path, name), tmp_path / "out"
    plan = tuned.plan(
        out, format="hf", merge=True, merges=tuned.merges(), transposed=name == "gpt2",
        copy=["tokenizer.json", "config.json"], shard_bytes_max=40_000,
    )  # fmt: skip
    assert run_export(tmp_path, plan) == 0
    assert (out / "model.safetensors.index.json").is_file()
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    difference = (model(TOKENS).logits - tuned.logits).abs().max()
    assert difference <= 1e-4
    assert (AutoModelForCausalLM.from_pretrained(tuned.base)(TOKENS).logits - tuned.logits).abs().max() > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_full_tuning_loads_in_transformers(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_tensors, "CHUNK_ELEMENTS", 100)
    tuned, out = Tuned(tmp_path, name, full=True), tmp_path / "out"
    tensors = [{"name": n, "fqn": n} for n in tuned.names]
    assert run_export(tmp_path, tuned.plan(out, format="hf", tensors=tensors, copy=["config.json"])) == 0
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    assert torch.equal(model(TOKENS).logits, tuned.logits)


def test_a_cast_rounds_to_nearest_even_like_torch(tmp_path: Path) -> None:
    tuned, out = Tuned(tmp_path, "llama", full=True), tmp_path / "out"
    tensors = [{"name": n, "fqn": n} for n in tuned.names]
    assert run_export(tmp_path, tuned.plan(out, format="hf", dtype="bf16", tensors=tensors, copy=[])) == 0
    written = load_file(out / "model.safetensors")
    for name, parameter in tuned.model.named_parameters():
        assert torch.equal(written[name], parameter.detach().to(torch.bfloat16))


def refused(tmp: Path, plan: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    assert run_export(tmp, plan) == REFUSED_EXIT
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["kind"] == "refused"
    return f"{event['code']}: {event['sentence']}"


def test_what_is_not_whole_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned = Tuned(tmp_path, "llama")
    tensors = [{"name": f"base_model.model.{n}", "fqn": n} for n in tuned.names]

    def why(**over: Any) -> str:
        why.count += 1  # type: ignore[attr-defined]
        return refused(tmp_path, tuned.plan(tmp_path / f"out{why.count}", **over), capsys)  # type: ignore[attr-defined]

    why.count = 0  # type: ignore[attr-defined]
    assert "the adapter is empty" in why(tensors=[])
    assert "is not in the checkpoint" in why(tensors=[{"name": "x", "fqn": "ghost"}])
    merges = tuned.merges()
    assert "the base has" in why(
        format="hf", merge=True, merges=[{**merges[0], "weight": merges[1]["weight"]}]
    )
    assert "is not a tensor of the base model" in why(
        format="hf", merge=True, merges=[{**merges[0], "weight": "q"}]
    )
    base = {"directory": str(tuned.base), "files": {"model.safetensors": f"sha256:{'0' * 64}"}}
    assert "SWC_BASE_MISMATCH" in why(format="hf", merge=True, merges=merges, base=base)
    assert "SWC_BASE_MISSING" in why(
        tensors=tensors, base={**base, "files": {"lost.safetensors": "sha256:00"}}
    )
    assert "SWC_EXPORT_REFUSED" in why(v=2)


def test_a_damaged_pack_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned = Tuned(tmp_path, "llama")
    tensors = [{"name": f"base_model.model.{n}", "fqn": n} for n in tuned.names]
    pack = sorted((tuned.run / "data").glob("*/*.safetensors"))[0]
    data = bytearray(pack.read_bytes())
    data[-5] ^= 1  # in master, the last kind
    pack.write_bytes(data)
    out = tmp_path / "out"
    assert "SWC_CORRUPT_BLOCK" in refused(tmp_path, tuned.plan(out, tensors=tensors), capsys)
    assert not (out / "export.json").exists()


def test_values_that_are_not_finite_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned = Tuned(tmp_path, "llama")
    flat = np.full(tuned.layout.elements, np.nan, np.float32)
    key = commit(
        tuned.run,
        tuned.layout,
        a_map(flat.size, 256, [(0,)] * -(-flat.size // 256)),
        dict.fromkeys(KINDS, flat),
        step=11,
    )
    tensors = [{"name": n, "fqn": n} for n in tuned.names]
    assert "not finite" in refused(
        tmp_path, tuned.plan(tmp_path / "out", commit=key, tensors=tensors), capsys
    )


def test_bf16_rounding_for_every_kind_of_value() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    edges = np.array(
        [0, 0x80000000, 0x7F800000, 0x00008000, 0x00018000, 0x3F808000, 0x3F818000, 0x7F7FFFFF], np.uint32
    )
    values = np.concatenate([bits, edges]).view(np.float32)
    ours = np.frombuffer(from_fp32(values, "BF16"), np.uint16)
    torchs = torch.from_numpy(values.copy()).to(torch.bfloat16).view(torch.uint16).numpy()
    finite = ~np.isnan(values)
    assert np.array_equal(ours[finite], torchs[finite])
    nan = (ours[~finite].astype(np.uint32) << 16).view(np.float32)
    assert np.isnan(nan).all()
