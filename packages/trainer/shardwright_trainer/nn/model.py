"""Loads a Hugging Face causal model from a local folder and lays its trainable parameters into one flat
buffer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from shardwright_trainer.nn import attention
from shardwright_trainer.nn.cross_entropy import cross_entropy_sum
from shardwright_trainer.nn.lora import adapter_fqn, add_lora, has_conv1d, initialise_adapters, lora_record
from shardwright_trainer.nn.losses import MicroBatch
from shardwright_trainer.nn.rng import DropoutContext, key_dropouts
from shardwright_trainer.nn.weights import check_model_directory
from shardwright_trainer.plan.config import FlatLayout, RankConfig, Recipe
from shardwright_trainer.plan.flat import build_layout
from shardwright_trainer.rank.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ATTENTION_NAMES = {"sdpa": attention.NAME, "varlen": attention.NAME, "math": attention.MATH_NAME}
COMPUTED_TOKENS = frozenset({"all", "needed"})

ARCHITECTURES = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gpt2"})
"""model_type of the families whose head is one matrix over the last hidden state, soft-capped at most, and
whose attention goes through our function; each is compared with the stock implementation in the tests."""

REASON_CHARACTERS_MAX = 500
"""What a library says of a model may quote the whole file."""

Report = Callable[[str, float], None]


@dataclass(slots=True)
class TrainedModel:
    """A causal model whose trainable parameters are views into `flat`, in canonical order."""

    model: nn.Module
    backbone: nn.Module
    head: nn.Module
    softcap: float | None
    parameters: list[nn.Parameter]
    layout: FlatLayout
    flat: Tensor
    """[elements] in compute dtype."""
    fingerprint: str
    """sha256 (hex) of the ordered (fqn, shape, dtype, trainable) of all parameters."""
    lora: dict[str, Any] | None
    directory: str
    recipe: Recipe
    seed: int
    dropout: DropoutContext = field(default_factory=DropoutContext)

    def loss_sum(self, batch: MicroBatch, cross_entropy_rows: int) -> Tensor:
        """Σ of the cross-entropies of a micro-batch, fp64 scalar; backward adds into the parameters'
        gradients."""
        hidden_th = self.hidden(batch)
        picked_nh = hidden_th.index_select(0, batch.predecessors_n)
        return cross_entropy_sum(
            picked_nh, self.head, batch.targets_n, chunk_rows=cross_entropy_rows, softcap=self.softcap
        )

    def hidden(self, batch: MicroBatch) -> Tensor:
        """[t, h]: last hidden state of every computed token of the micro-batch."""
        output = self.backbone(
            input_ids=batch.tokens_t.unsqueeze(0),
            position_ids=batch.positions_t.unsqueeze(0),
            use_cache=False,
            documents=batch.documents,
            shared_tokens=batch.shared_tokens,
        )
        hidden_1th: Tensor = output.last_hidden_state
        return hidden_1th[0]

    def reset(self) -> None:
        """Puts the weights of step 0 back into `flat`."""
        if self.lora is not None:
            initialise_adapters(self.model, self.seed)
            return
        fresh = dict(_named_once(_from_directory(self.directory, self.recipe)))
        with torch.no_grad():
            for tensor, parameter in zip(self.layout.tensors, self.parameters, strict=True):
                parameter.copy_(fresh[tensor.fqn])


def load_model(config: RankConfig, report: Report) -> TrainedModel:
    """Loads, freezes or adapts, and lays out. UserError for a folder that cannot be used as it is."""
    import transformers

    recipe, spec = config.recipe, config.spec
    if recipe.compute_dtype not in DTYPES:
        raise UserError(
            "PrecisionUnsupported", f"compute dtype {recipe.compute_dtype!r}; expected fp32 or bf16"
        )
    if recipe.computed_tokens not in COMPUTED_TOKENS:
        raise UserError(
            "RecipeUnsupported", f"computed tokens {recipe.computed_tokens!r}; expected all or needed"
        )
    settings = check_model_directory(config.model_directory, ARCHITECTURES)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    attention.register()
    report("model", 0.0)
    model = _from_directory(config.model_directory, recipe)
    report("model", 0.7)
    seed = int(spec["train"]["seed"])
    tuning = spec["tuning"]
    lora: dict[str, Any] | None = None
    if tuning["method"] == "lora":
        targets = add_lora(model, tuning, seed)
        lora = lora_record(tuning, targets, fan_in_fan_out=has_conv1d(model))
    elif tuning["method"] != "full":
        raise UserError("MethodUnsupported", f"tuning.method {tuning['method']!r}; expected lora or full")
    dropout = DropoutContext(seed=seed)
    drops = _key_dropouts(model, dropout) > 0 or (settings.get("attention_dropout") or 0) > 0
    if drops and recipe.computed_tokens == "needed":
        raise UserError(
            "RecipeUnsupported",
            f"the model in {config.model_directory} or its adapter drops activations: "
            "documents cannot share computed tokens, the plan must say computed tokens: all",
        )
    model.train()
    if recipe.gradient_checkpointing == "full":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained = _lay_out(model, recipe, lora, config.model_directory, seed)
    trained.dropout = dropout
    trained.softcap = settings.get("final_logit_softcapping")
    report("model", 1.0)
    return trained


def _from_directory(directory: str, recipe: Recipe) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=DTYPES[recipe.compute_dtype],
            attn_implementation=ATTENTION_NAMES[recipe.attention],
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # each architecture checks its config.json in its own way
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise
        if "DefaultCPUAllocator" in str(error):
            raise  # the machine is too small; the folder is as it should be
        said = " ".join(str(error).split())[:REASON_CHARACTERS_MAX]
        raise UserError(
            "ModelUnreadable", f"the model folder {directory} cannot be loaded (config.json, weights): {said}"
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            "ModelTensorMissing",
            f"the model folder {directory} lacks {len(missing)} of its tensors: {', '.join(missing[:5])}",
        )
    return model.to(recipe.device_type) if recipe.device_type != "cpu" else model


def _key_dropouts(model: nn.Module, context: DropoutContext) -> int:
    found = key_dropouts(model, context)
    for module in model.modules():
        if getattr(module, "layer_idx", None) is not None:
            # Read by our attention function when the model drops attention weights; not a submodule, not a
            # parameter.
            object.__setattr__(module, "dropout_context", context)
    return found


def _lay_out(
    model: Any, recipe: Recipe, lora: dict[str, Any] | None, directory: str, seed: int
) -> TrainedModel:
    named = list(_trainable(model))
    dtype = DTYPES[recipe.compute_dtype]
    layout = build_layout((fqn, tuple(parameter.shape), str(dtype)[6:]) for fqn, parameter in named)
    flat = torch.zeros(layout.elements, dtype=dtype, device=named[0][1].device)
    with torch.no_grad():
        for tensor, (_, parameter) in zip(layout.tensors, named, strict=True):
            view = flat[tensor.begin : tensor.end].view(tensor.shape)
            view.copy_(parameter)
            parameter.data = view
    return TrainedModel(
        model=model,
        backbone=model.base_model,
        head=model.get_output_embeddings(),
        softcap=None,
        parameters=[parameter for _, parameter in named],
        layout=layout,
        flat=flat,
        fingerprint=_fingerprint(model),
        lora=lora,
        directory=directory,
        recipe=recipe,
        seed=seed,
    )


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in _named_once(model) if parameter.requires_grad)


def _named_once(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Canonical order: named_parameters(), which lists tied weights once; adapters by their stored names."""
    return ((adapter_fqn(name), parameter) for name, parameter in model.named_parameters())


def _fingerprint(model: nn.Module) -> str:
    rows = [
        [name, list(parameter.shape), str(parameter.dtype), parameter.requires_grad]
        for name, parameter in _named_once(model)
    ]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()
