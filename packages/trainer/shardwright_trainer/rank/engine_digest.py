"""What must be equal on all ranks for their bits to be equal, as one digest."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import torch

from shardwright_trainer.files.canonical_json import canonical_bytes
from shardwright_trainer.plan.config import Recipe


def recipe_sha256(recipe: Recipe, model_fingerprint: str) -> str:
    """sha256 (hex) over the recipe, the torch version and the model. Gradient checkpointing changes no
    bits."""
    facts = asdict(recipe)
    facts.pop("gradient_checkpointing")
    if recipe.computed_tokens == "all":
        # What recipes meant before they could say it: their digests, in checkpoints and snapshots, stay.
        facts.pop("computed_tokens")
    text = canonical_bytes({"recipe": facts, "torch": str(torch.__version__), "model": model_fingerprint})
    return hashlib.sha256(text).hexdigest()


def digest32(*names: str) -> int:
    """32 bits of the names, exact in a float64."""
    return int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:4], "little")


def set_up_torch(recipe: Recipe) -> None:
    """Threads and kernels as the recipe says, for the whole process."""
    torch.set_num_threads(recipe.threads_per_rank)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory serves debugging only and would cost a pass over every buffer.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
