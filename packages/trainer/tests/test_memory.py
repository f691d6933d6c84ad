"""The closed forms of plan/memory.py equal the planner's golden vectors, and what autograd really keeps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from shardwright_trainer.nn import attention
from shardwright_trainer.plan import memory
from shardwright_trainer.plan.memory import AdapterShape, Linear, MemoryQuestion, ModelCard, StateScheme

VECTORS = json.loads(
    (Path(__file__).parents[3] / "test/contract/vectors/memory.json").read_text(encoding="utf-8")
)
CASES = {case["name"]: case for case in VECTORS["cases"]}


def snake(fields: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """camelCase → snake_case, only fields that a dataclass has."""
    renamed = {re.sub(r"([A-Z])", r"_\1", key).lower(): value for key, value in fields.items()}
    return {key: value for key, value in renamed.items() if key in names}


def question_of(fields: dict[str, Any]) -> MemoryQuestion:
    card = snake(fields["card"], ModelCard.__dataclass_fields__)
    card["linears"] = tuple(Linear(**linear) for linear in fields["card"]["linears"])
    adapter = fields["adapter"]
    shape = None
    if adapter is not None:
        shape = AdapterShape(
            r=adapter["r"], linears=len(adapter["linears"]), trainable_elements=adapter["trainableElements"]
        )
    rest = snake(fields, MemoryQuestion.__dataclass_fields__)
    rest |= {"card": ModelCard(**card), "adapter": shape, "scheme": StateScheme(**fields["scheme"])}
    return MemoryQuestion(**rest)


@pytest.mark.parametrize("name", CASES)
def test_golden_vectors(name: str) -> None:
    case = CASES[name]
    question = question_of(case["question"])
    estimate = memory.memory_of(question)
    assert memory.layer_bytes_per_token(question) == case["layerBytesPerToken"]
    assert {key: getattr(estimate.bytes, key) for key in case["bytes"]} == case["bytes"]
    assert (estimate.peak_bytes, estimate.phase) == (case["peakBytes"], case["phase"])


@pytest.mark.parametrize("case", VECTORS["blocks"], ids=lambda case: str(case["elements"]))
def test_block_sizes(case: dict[str, int]) -> None:
    size = memory.block_elements_for(case["elements"])
    assert (size, -(-case["elements"] // size)) == (case["blockElements"], case["blocks"])


@pytest.mark.parametrize("case", VECTORS["arrivals"], ids=lambda case: str(case["ranks"]))
def test_arrivals(case: dict[str, int]) -> None:
    found = memory.arrival_bytes(case["heldElements"], case["ranks"], case["lanes"], case["wireBytes"])
    assert found == case["bytes"]


@pytest.mark.parametrize("case", VECTORS["releases"], ids=lambda case: f"{case['lanes']}-{case['ranks']}")
def test_releases(case: dict[str, int]) -> None:
    assert memory.release_partials_max(case["lanes"], case["ranks"]) == case["partials"]


def test_unknown_architecture() -> None:
    fields = CASES["gpt2 lora"]["question"]
    with pytest.raises(ValueError, match="no closed form for architecture 'mamba'"):
        memory.layer_bytes_per_token(
            question_of({**fields, "card": {**fields["card"], "architecture": "mamba"}})
        )


# What autograd keeps: a model of 3 layers less the same of 2, every storage once, without parameters.

SPAN = 64


def config_of(architecture: str, layers: int, **widths: int) -> Any:
    import transformers

    if architecture == "gpt2":
        return transformers.GPT2Config(
            n_embd=widths["hidden"], n_head=widths["heads"], n_layer=layers, n_inner=widths["ff"],
            vocab_size=64, n_positions=256, bos_token_id=0, eos_token_id=0,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
    classes = {
        "llama": "LlamaConfig",
        "qwen2": "Qwen2Config",
        "mistral": "MistralConfig",
        "gemma2": "Gemma2Config",
    }
    options: dict[str, Any] = {"sliding_window": None} if architecture == "mistral" else {}
    return getattr(transformers, classes[architecture])(
        hidden_size=widths["hidden"],
        num_attention_heads=widths["heads"],
        num_key_value_heads=widths["kv_heads"],
        head_dim=widths["head"],
        intermediate_size=widths["ff"],
        num_hidden_layers=layers,
        vocab_size=64,
        max_position_embeddings=256,
        **options,
    )


def kept_bytes(config: Any, dtype: torch.dtype, r: int, path: str) -> int:
    from transformers import AutoModelForCausalLM

    attention.register()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=path, dtype=dtype)
    if r:
        from peft import LoraConfig, inject_adapter_in_model

        linears = {name.split(".")[-1] for name, module in model.named_modules() if is_linear(module)}
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        targets = sorted(linears - {"lm_head"})
        is_conv = "c_attn" in targets
        inject_adapter_in_model(LoraConfig(r=r, target_modules=targets, fan_in_fan_out=is_conv), model)
        model.to(dtype)
    model.train()
    tensors = [*model.parameters(), *model.buffers()]
    known = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids = torch.randint(0, 64, (1, SPAN))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.base_model(input_ids=ids, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def is_linear(module: Any) -> bool:
    return type(module).__name__ in {"Linear", "Conv1D"}


WIDTHS = [
    {"hidden": 64, "heads": 4, "kv_heads": 2, "head": 16, "ff": 176},
    {"hidden": 48, "heads": 6, "kv_heads": 1, "head": 16, "ff": 80},
    {"hidden": 96, "heads": 3, "kv_heads": 3, "head": 32, "ff": 128},
]
SHAPES = {"llama": (0, 1, 2), "qwen2": (0,), "mistral": (1,), "gemma2": (0, 1), "gpt2": (0, 2)}
MEASURED = [
    (architecture, index, dtype, r)
    for architecture, indices in SHAPES.items()
    for index in indices
    for dtype in (torch.float32, torch.bfloat16)
    for r in (0, 8)
]


@pytest.mark.parametrize(("architecture", "index", "dtype", "r"), MEASURED)
def test_activations_equal_what_autograd_keeps(
    architecture: str, index: int, dtype: torch.dtype, r: int
) -> None:
    widths = WIDTHS[index]
    path = attention.MATH_NAME if architecture == "gemma2" else attention.NAME
    two, three = (kept_bytes(config_of(architecture, layers, **widths), dtype, r, path) for layers in (2, 3))
    hidden, heads = widths["hidden"], widths["heads"]
    is_gpt2 = architecture == "gpt2"
    card = {
        "architecture": architecture, "layers": 2, "hidden": hidden, "ff": widths["ff"], "heads": heads,
        "q": hidden if is_gpt2 else heads * widths["head"],
        "kv": hidden if is_gpt2 else widths["kv_heads"] * widths["head"],
        "vocabulary": 64, "tied": True, "parameters": 0, "linearParameters": 0, "linears": [],
    }  # fmt: skip
    adapter = {"r": r, "linears": [None] * (4 if is_gpt2 else 7), "trainableElements": 0} if r else None
    fields = {
        **CASES["smollm2 full"]["question"],
        "card": card,
        "adapter": adapter,
        "valueBytes": dtype.itemsize,
        "spanTokens": SPAN,
        "attention": "math" if architecture == "gemma2" else "sdpa",
    }
    # Gemma keeps 1 + weight of its four norms, once a layer and not once a token.
    once = 16 * hidden if architecture == "gemma2" else 0
    assert three - two - once == memory.layer_bytes_per_token(question_of(fields)) * SPAN
