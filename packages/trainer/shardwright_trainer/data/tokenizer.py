"""The model's tokenizer, read straight from tokenizer.json: neither transformers nor torch is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from shardwright_trainer.rank.errors import UserError

# The largest vocabularies have files of some 35 MB.
TOKENIZER_BYTES_MAX = 256 << 20
CONFIG_BYTES_MAX = 16 << 20
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Tokens of one text. starts[i]: character where token i begins; tokens tile the text."""

    ids: list[int]
    starts: list[int]


class ModelTokenizer:
    """tokenizer.json with what tokenizer_config.json says about it.

    sha256: of tokenizer.json; named: bos_token, eos_token, …, as far as they exist; specials: texts of all
    special tokens; adds_bos: whether plain text is encoded with a leading BOS.
    Raises UserError for a folder without a usable tokenizer.
    """

    def __init__(self, model_directory: str) -> None:
        folder = Path(model_directory)
        path = folder / "tokenizer.json"
        if not path.is_file() or path.stat().st_size > TOKENIZER_BYTES_MAX:
            raise UserError(
                "tokenizer_missing",
                f"{path}: missing or too large; expected a fast tokenizer (save it again with transformers)",
            )
        payload = path.read_bytes()
        self.sha256 = hashlib.sha256(payload).hexdigest()
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(payload.decode("utf-8"))
        except Exception as error:  # the library raises its errors as bare Exception
            raise UserError("tokenizer_invalid", f"{path}: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.config = read_json(folder / "tokenizer_config.json")
        added = self._tokenizer.get_added_tokens_decoder()
        self.specials = tuple(sorted(token.content for token in added.values() if token.special))
        self.named = self._named(folder)
        bos = self.named.get("bos_token")
        self.bos_id = None if bos is None else self._tokenizer.token_to_id(bos)
        probe = self._tokenizer.encode("", add_special_tokens=True).ids
        self.adds_bos = self.bos_id is not None and self.bos_id in probe

    def _named(self, folder: Path) -> dict[str, str]:
        """Named special tokens; one that the vocabulary lacks does not exist."""
        older = read_json(folder / "special_tokens_map.json")
        found = {}
        for name in _NAMED:
            value = self.config.get(name) or older.get(name)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str) and self._tokenizer.token_to_id(text) is not None:
                found[name] = text
        return found

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokens of texts that already hold every special token they shall have."""
        batch = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [Encoded(ids=list(one.ids), starts=_tiled(one.offsets)) for one in batch]


def _tiled(offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Where each token begins. Some offsets leave out leading white space: it belongs to its token."""
    starts, end = [], 0
    for begin, stop in offsets:
        starts.append(min(begin, end))
        end = max(end, stop)
    return starts


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; {} where the file is missing. Raises UserError naming the path."""
    if not path.is_file():
        return {}
    if path.stat().st_size > CONFIG_BYTES_MAX:
        raise UserError("model_invalid", f"{path}: larger than {CONFIG_BYTES_MAX >> 20} MiB")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError("model_invalid", f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError("model_invalid", f"{path}: expected a JSON object")
    return value


def context_tokens(model_directory: str) -> int | None:
    """Longest sequence the model knows, from config.json; None where it does not say."""
    path = Path(model_directory) / "config.json"
    config = read_json(path)
    inner = config.get("text_config")
    for key in ("max_position_embeddings", "n_positions", "n_ctx"):
        for place in (config, inner if isinstance(inner, dict) else {}):
            if isinstance(place.get(key), int) and place[key] > 0:
                return int(place[key])
    return None
