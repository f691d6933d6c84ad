"""A GGUF file of the Llama architecture → a Hugging Face directory (safetensors, config, tokenizer).

Converted once into the user's cache, keyed by the file's digest. Source of the layout: llama.cpp's
convert_hf_to_gguf.py, whose rotary permutation of q and k is undone here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from shardwright_trainer.files.fetch import cache_folder, sha256_of

CONVERTER_VERSION = 2
"""Raised when the conversion changes, so that old conversions are not used."""

ARCHITECTURES = ("llama",)
PRE_TOKENIZERS = ("smollm", "gpt-2", "default", "llama-bpe")
CONTROL_TOKEN = 3
USER_DEFINED_TOKEN = 4
FILE_BYTES_MAX = 64 << 30
"""A GGUF above this is not a model for one machine's conversion."""

NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Derived tensors that transformers computes itself.
IGNORED = ("rope_freqs.weight",)

Progress = Callable[[str, float], None]


class GgufError(ValueError):
    """The file cannot become a model; the message names the file and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    metadata: dict[str, Any]
    path: Path

    def get(self, key: str) -> Any:
        if key not in self.metadata:
            raise GgufError(f"{self.path}: the GGUF metadata has no {key}")
        return self.metadata[key]


def resolve_model(source: str, progress: Progress) -> str:
    """`file://` source → directory that transformers loads; a .gguf file is converted once into the cache.

    Raises GgufError for a file that is not a Llama-architecture GGUF, ValueError for another kind of source.
    """
    parts = urlsplit(source)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ValueError(f"model.source {source!r}: expected file:// and an absolute path")
    path = Path(unquote(parts.path))
    if path.is_dir():
        return str(path)
    if path.suffix != ".gguf":
        raise ValueError(f"model.source {source!r}: expected a directory or a .gguf file")
    if not path.is_file():
        raise ValueError(f"model.source {source!r}: no such file")
    return str(convert_cached(path, progress))


def convert_cached(path: Path, progress: Progress) -> Path:
    """The conversion of this file in the user's cache; made now if it is not there."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise GgufError(f"{path}: {path.stat().st_size} bytes, at most {FILE_BYTES_MAX} are converted")
    digest = sha256_of(path)
    target = cache_folder() / "models" / f"{path.stem}-{digest[:16]}-v{CONVERTER_VERSION}"
    if (target / "config.json").exists():
        return target
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        convert(path, beside, progress)
        try:
            os.replace(beside, target)
        except OSError:
            # Another process was faster; its conversion is the same.
            if not (target / "config.json").exists():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def convert(path: Path, target: Path, progress: Progress) -> None:
    """Write config.json, model.safetensors (fp32) and the tokenizer files into the empty folder `target`."""
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    try:
        reader = GGUFReader(str(path))
    except (ValueError, IndexError, OSError) as error:
        raise GgufError(f"{path}: not a readable GGUF file ({error})") from error
    header = Header(metadata={field.name: field.contents() for field in reader.fields.values()}, path=path)
    architecture = header.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise GgufError(
            f"{path}: architecture {architecture!r} is not converted; {', '.join(ARCHITECTURES)} is. "
            "Use the model's safetensors directory instead"
        )
    config = llama_config(header, tied=all(tensor.name != "output.weight" for tensor in reader.tensors))
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    count = len(reader.tensors)
    for index, (name, value) in enumerate(dense_tensors(reader.tensors, config, path)):
        tensors[name] = value
        progress("converting the model", (index + 1) / count)
    save_file(tensors, str(target / "model.safetensors"), metadata={"format": "pt"})
    write_tokenizer(header, target, config)
    # Last: its presence says that the conversion is complete.
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def llama_config(header: Header, *, tied: bool) -> dict[str, Any]:
    """config.json of a LlamaForCausalLM."""
    hidden = int(header.get("llama.embedding_length"))
    heads = int(header.get("llama.attention.head_count"))
    epsilon = float(header.get("llama.attention.layer_norm_rms_epsilon"))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": int(header.get("llama.feed_forward_length")),
        "num_hidden_layers": int(header.get("llama.block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(header.metadata.get("llama.attention.head_count_kv", heads)),
        "head_dim": int(header.metadata.get("llama.attention.key_length", hidden // heads)),
        "max_position_embeddings": int(header.get("llama.context_length")),
        # A float32 of 1e-05 reads 9.99999974e-06: seven digits are what was meant.
        "rms_norm_eps": float(f"{epsilon:.7g}"),
        "rope_theta": float(header.metadata.get("llama.rope.freq_base", 10000.0)),
        "vocab_size": len(header.get("tokenizer.ggml.tokens")),
        "tie_word_embeddings": tied,
        "bos_token_id": int(header.metadata.get("tokenizer.ggml.bos_token_id", 1)),
        "eos_token_id": int(header.metadata.get("tokenizer.ggml.eos_token_id", 2)),
        "torch_dtype": "float32",
    }


def dense_tensors(
    tensors: Any, config: dict[str, Any], path: Path
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """(Hugging Face name, fp32 values) of every tensor, rotary permutation undone."""
    from gguf.quants import dequantize

    for tensor in tensors:
        if tensor.name in IGNORED:
            continue
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
        shape = tuple(int(extent) for extent in reversed(tensor.shape))
        values = np.ascontiguousarray(values.reshape(shape))
        if not np.isfinite(values).all():
            raise GgufError(f"{path}: tensor {tensor.name} holds values that are not finite")
        name = huggingface_name(tensor.name, path)
        if name.endswith("q_proj.weight"):
            values = undo_rotary_permutation(values, config["num_attention_heads"])
        elif name.endswith("k_proj.weight"):
            values = undo_rotary_permutation(values, config["num_key_value_heads"])
        yield name, values


def huggingface_name(name: str, path: Path) -> str:
    if name in NAMES:
        return NAMES[name]
    match = re.fullmatch(r"blk\.(\d+)\.([a-z_]+)\.weight", name)
    if match is None or match[2] not in LAYER_NAMES:
        raise GgufError(f"{path}: tensor {name} is not part of a plain Llama model")
    return f"model.layers.{match[1]}.{LAYER_NAMES[match[2]]}.weight"


def undo_rotary_permutation(values_OI: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """llama.cpp interleaves the two rotary halves of each head; Hugging Face keeps them apart."""
    out, inner = values_OI.shape
    halves = values_OI.reshape(heads, out // heads // 2, 2, inner).swapaxes(1, 2)
    return np.ascontiguousarray(halves.reshape(out, inner))


def write_tokenizer(header: Header, target: Path, config: dict[str, Any]) -> None:
    """tokenizer.json and tokenizer_config.json (with the chat template) from the GGUF metadata."""
    kind = header.get("tokenizer.ggml.model")
    pre = header.metadata.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or pre not in PRE_TOKENIZERS:
        raise GgufError(
            f"{header.path}: tokenizer {kind}/{pre} is not converted; byte-level BPE with pre-tokenizer "
            f"{', '.join(PRE_TOKENIZERS)} is. Use the model's safetensors directory instead"
        )
    tokens: list[str] = header.get("tokenizer.ggml.tokens")
    types: list[int] = header.metadata.get("tokenizer.ggml.token_type", [1] * len(tokens))
    byte_level_bpe(tokens, types, header.get("tokenizer.ggml.merges"), pre).save(
        str(target / "tokenizer.json"), pretty=False
    )

    def token(role: str) -> str | None:
        index = header.metadata.get(f"tokenizer.ggml.{role}_token_id")
        return None if index is None else tokens[int(index)]

    eos = token("eos")
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token("bos"),
        "eos_token": eos,
        "unk_token": token("unknown"),
        # Padding never enters the loss (labels are masked by position), so sharing eos is harmless here.
        "pad_token": token("padding") or eos,
        "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "chat_template": header.metadata.get("tokenizer.chat_template"),
    }
    kept = {name: value for name, value in settings.items() if value is not None}
    (target / "tokenizer_config.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def byte_level_bpe(tokens: list[str], types: list[int], merges: list[str], pre: str) -> Any:
    """A `tokenizers.Tokenizer` with the pre-tokenizer that llama.cpp's name `pre` stands for."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {text: index for index, text in enumerate(tokens)}
    pairs = [(left, right) for left, right in (merge.split(" ", 1) for merge in merges)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, fuse_unk=False))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre != "llama-bpe")
    if pre == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), byte_level]
        )
    elif pre == "llama-bpe":
        pattern = (
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    else:
        tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        AddedToken(text, special=True, normalized=False)
        for text, kind in zip(tokens, types, strict=True)
        if kind == CONTROL_TOKEN
    ]
    tokenizer.add_special_tokens(special)
    plain = [
        AddedToken(text, special=False, normalized=False)
        for text, kind in zip(tokens, types, strict=True)
        if kind == USER_DEFINED_TOKEN
    ]
    tokenizer.add_tokens(plain)
    return tokenizer
