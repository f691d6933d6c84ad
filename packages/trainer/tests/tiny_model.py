"""Model folders for tests: a byte-level tokenizer made on the spot, with any chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIALS = ("<|im_start|>", "<|im_end|>", "<s>")
VOCABULARY = 256 + len(SPECIALS)


def make_tokenizer(*, adds_bos: bool = False, merges: list[tuple[str, str]] | None = None) -> Tokenizer:
    """Every byte is a token; `merges` make longer ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = merges or []
    vocabulary = {text: index for index, text in enumerate([*alphabet, *(a + b for a, b in merged)])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merged))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIALS])
    if adds_bos:
        bos = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[bos])
    return tokenizer


def make_model_folder(
    folder: Path,
    *,
    chat_template: str | None = CHATML,
    adds_bos: bool = False,
    merges: list[tuple[str, str]] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """A folder as data preparation sees it: tokenizer and config, no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(adds_bos=adds_bos, merges=merges).save(str(folder / "tokenizer.json"))
    named: dict[str, Any] = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "bos_token": "<s>"}
    if chat_template is not None:
        named["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    (folder / "config.json").write_text(json.dumps(config or {"max_position_embeddings": 512}))
    return folder


def write_chat(path: Path, count: int) -> Path:
    """`count` different chat examples."""
    rows = (
        {
            "messages": [
                {"role": "user", "content": f"Say {number}"},
                {"role": "assistant", "content": f"It is {number}."},
            ]
        }
        for number in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tokenizer_of(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder."""
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
