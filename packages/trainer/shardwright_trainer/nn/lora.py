"""LoRA through peft, with an initialisation that depends on (seed, name) alone and targets that are checked
first."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from shardwright_trainer.nn.lora_linear import fuse
from shardwright_trainer.nn.rng import uniform
from shardwright_trainer.rank.errors import UserError

ADAPTER = "default"
"""peft's name of the one adapter; it never appears in the flat space or in files."""


def add_lora(model: nn.Module, tuning: Mapping[str, Any], seed: int) -> list[str]:
    """Freezes the model and adds adapters to it, in place. Returns the adapted modules' leaf names, sorted.

    tuning: the `tuning` object of a JobSpec. A is uniform in ±1/√in, B is zero, so that the adapted model
    starts as exactly the base. UserError names every unknown target and the nearest known one.
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = tuning["targets"]
    linear = linear_leaf_names(model)
    if targets != "all-linear":
        _check_targets(targets, linear)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    config = LoraConfig(
        r=int(tuning["r"]),
        lora_alpha=tuning["alpha"],
        lora_dropout=float(tuning["dropout"]),
        target_modules="all-linear" if targets == "all-linear" else list(targets),
        use_rslora=bool(tuning["rslora"]),
        fan_in_fan_out=has_conv1d(model),
        init_lora_weights=False,
        bias="none",
    )
    inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    initialise_adapters(model, seed)
    fuse(model, ADAPTER)
    return sorted(_adapted(model, linear))


def initialise_adapters(model: nn.Module, seed: int) -> None:
    """Sets every adapter weight to its value at step 0, in place; a pure function of (seed, name of the
    weight)."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            if ".lora_A." in name:
                fan_in = parameter.shape[1]
                values = uniform(seed, adapter_fqn(name), parameter.numel(), fan_in**-0.5)
                parameter.copy_(torch.from_numpy(values).view(parameter.shape))
            else:
                parameter.zero_()


def adapter_fqn(name: str) -> str:
    """Name of an adapter weight as stored: base module path + .lora_A.weight, no adapter name."""
    return name.replace(f".lora_A.{ADAPTER}.", ".lora_A.").replace(f".lora_B.{ADAPTER}.", ".lora_B.")


def lora_record(
    tuning: Mapping[str, Any], target_modules: Sequence[str], *, fan_in_fan_out: bool
) -> dict[str, Any]:
    """What a checkpoint says about the adapter; `scale` is the truth, r and alpha serve export."""
    r, alpha, rslora = int(tuning["r"]), float(tuning["alpha"]), bool(tuning["rslora"])
    return {
        "r": r,
        "alpha": int(alpha) if alpha.is_integer() else alpha,
        "scale": alpha / r**0.5 if rslora else alpha / r,
        "use_rslora": rslora,
        "dropout": float(tuning["dropout"]),
        "use_dora": False,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "target_modules": list(target_modules),
        "modules_to_save": [],
        "base": "base",
    }


def linear_leaf_names(model: nn.Module) -> list[str]:
    """Last parts of the names of all linear modules, the output head's included, sorted."""
    return sorted({name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)})


def has_conv1d(model: nn.Module) -> bool:
    """GPT-2 keeps its weights as [in, out]; peft must be told."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


def _check_targets(targets: Sequence[str], linear: Sequence[str]) -> None:
    if not targets:
        raise UserError("LoraTargetsEmpty", "tuning.targets is an empty list; name modules or say all-linear")
    complaints: list[str] = []
    for target in targets:
        if target in linear:
            continue
        near = difflib.get_close_matches(target, linear, n=1, cutoff=0.0)
        hint = f"; did you mean {near[0]}?" if near else ""
        complaints.append(f"tuning.targets: the model has no linear module named {target!r}{hint}")
    if complaints:
        raise UserError("LoraTargetUnknown", f"{'. '.join(complaints)} It has {', '.join(linear)}.")


def _adapted(model: nn.Module, linear: Sequence[str]) -> set[str]:
    leaves = {
        name.split(".lora_A.")[0].rpartition(".")[2]
        for name, _ in model.named_modules()
        if ".lora_A." in name
    }
    return leaves & set(linear)
