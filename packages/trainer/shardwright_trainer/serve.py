"""Answer chat messages with a base model and, on top, a tuned adapter: `python -m shardwright_trainer.serve`.

One JSON object a line on stdin, `{"id", "messages", "max_new_tokens"}`; on stdout `{"id", "delta"}` while the
answer grows and `{"id", "done": true, "tokens"}` at its end, `{"id", "error"}` for a request that cannot be
answered. Decoding is greedy. No listener: whoever starts the process owns its pipes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEW_TOKENS_MAX = 4096
LINE_BYTES_MAX = 1 << 20
Message = dict[str, str]


@dataclass(slots=True)
class Answer:
    """One greedy answer: its text, and whether the model ended it by itself."""

    text: str
    tokens: int
    ended: bool


class Chat:
    """A model with its tokenizer and chat template, ready to answer.

    Raises ValueError when the adapter was trained with another template than the model's.
    """

    def __init__(self, model_directory: str, adapter_directory: str | None = None, threads: int = 1) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self._torch = torch
        source = adapter_directory if _has_tokenizer(adapter_directory) else model_directory
        self.tokenizer: Any = AutoTokenizer.from_pretrained(source)
        if self.tokenizer.chat_template is None:
            raise ValueError(f"{source}: the tokenizer has no chat template")
        model: Any = AutoModelForCausalLM.from_pretrained(model_directory, use_safetensors=True)
        if adapter_directory is not None:
            from peft import PeftModel

            # Merged in memory: one matrix product a layer instead of three while decoding.
            model = PeftModel.from_pretrained(model, adapter_directory).merge_and_unload()
        self.model = model.eval()
        self.stops = self._stop_ids()

    def _stop_ids(self) -> set[int]:
        stops = {self.tokenizer.eos_token_id}
        for text in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>"):
            index = self.tokenizer.convert_tokens_to_ids(text)
            if index is not None and index != self.tokenizer.unk_token_id:
                stops.add(index)
        return {stop for stop in stops if stop is not None}

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Prompt ids, the generation prompt included: the same prefix the trainer masks."""
        text = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def stream(self, messages: Sequence[Message], new_tokens_max: int) -> Iterator[str]:
        """Pieces of the answer as they are decided; their concatenation is the answer."""
        torch = self._torch
        ids = torch.tensor([self.encode(messages)])
        cache, kept, said = None, [], ""
        with torch.inference_mode():
            for _ in range(new_tokens_max):
                out = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                cache = out.past_key_values
                token = int(out.logits[0, -1].argmax())
                if token in self.stops:
                    break
                kept.append(token)
                text = self.tokenizer.decode(kept, skip_special_tokens=True)
                # A character may take several tokens: wait until it is whole.
                if not text.endswith("�"):
                    yield text[len(said) :]
                    said = text
                ids = torch.tensor([[token]])
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        if len(text) > len(said):
            yield text[len(said) :]

    def answer_all(
        self,
        prompts: Sequence[Sequence[Message]],
        new_tokens_max: int,
        enough: Callable[[str], bool] | None = None,
    ) -> list[Answer]:
        """Greedy answers of one batch. The prompts' common beginning is computed once; finished rows leave.

        A row also ends when `enough(text so far)` holds; it is asked after tokens that hold a closing brace.
        """
        torch = self._torch
        encoded = [self.encode(prompt) for prompt in prompts]
        shared = _common_prefix(encoded)
        rest = [ids[shared:] for ids in encoded]
        width = max(len(ids) for ids in rest)
        pad = self.tokenizer.pad_token_id or 0
        ids_BT = torch.tensor([[pad] * (width - len(ids)) + ids for ids in rest])
        mask_BT = torch.tensor(
            [[1] * shared + [0] * (width - len(ids)) + [1] * len(ids) for ids in rest], dtype=torch.long
        )
        with torch.inference_mode():
            cache = None
            if shared > 0:
                cache = self.model(torch.tensor([encoded[0][:shared]]), use_cache=True, logits_to_keep=1)
                cache = cache.past_key_values
                cache.batch_repeat_interleave(len(prompts))
            return self._decode((ids_BT, mask_BT), cache, new_tokens_max, enough)

    def _decode(
        self, batch: tuple[Any, Any], cache: Any, new_tokens_max: int, enough: Callable[[str], bool] | None
    ) -> list[Answer]:
        torch = self._torch
        ids_BT, mask_BT = batch
        alive = list(range(ids_BT.shape[0]))
        produced: list[list[int]] = [[] for _ in alive]
        ended = [False] * len(alive)
        shared = mask_BT.shape[1] - ids_BT.shape[1]
        positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)[:, shared:]
        for _ in range(new_tokens_max):
            out = self.model(
                ids_BT, attention_mask=mask_BT, position_ids=positions_BT, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )
            cache = out.past_key_values
            tokens = out.logits[:, -1].argmax(-1).tolist()
            kept = []
            for place, (row, token) in enumerate(zip(alive, tokens, strict=True)):
                if token in self.stops:
                    ended[row] = True
                else:
                    produced[row].append(token)
                    if enough is None or not self._is_enough(produced[row], enough):
                        kept.append(place)
            if not kept:
                break
            if len(kept) < len(alive):
                cache.batch_select_indices(torch.tensor(kept))
            alive = [alive[place] for place in kept]
            mask_BT = torch.cat([mask_BT[kept], torch.ones((len(kept), 1), dtype=torch.long)], dim=1)
            positions_BT = mask_BT.sum(-1, keepdim=True) - 1
            ids_BT = torch.tensor([[produced[row][-1]] for row in alive])
        return [
            Answer(self.tokenizer.decode(ids, skip_special_tokens=True), len(ids), done)
            for ids, done in zip(produced, ended, strict=True)
        ]

    def _is_enough(self, ids: list[int], enough: Callable[[str], bool]) -> bool:
        if "}" not in self.tokenizer.decode(ids[-1:]):
            return False
        return enough(self.tokenizer.decode(ids, skip_special_tokens=True))


def _has_tokenizer(directory: str | None) -> bool:
    return directory is not None and (Path(directory) / "tokenizer.json").exists()


def _common_prefix(rows: list[list[int]]) -> int:
    """Length of the common beginning; at least one token of every row stays outside it."""
    limit = min(len(row) for row in rows) - 1
    first = rows[0]
    length = 0
    while length < limit and all(row[length] == first[length] for row in rows):
        length += 1
    return length


def _reply(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _serve(chat: Chat) -> None:
    _reply({"ready": True})
    while line := sys.stdin.readline(LINE_BYTES_MAX):
        request: Any = None
        try:
            request = json.loads(line)
            limit = min(int(request.get("max_new_tokens", 256)), NEW_TOKENS_MAX)
            count = 0
            for delta in chat.stream(request["messages"], limit):
                count += 1
                _reply({"id": request.get("id"), "delta": delta})
            _reply({"id": request.get("id"), "done": True, "tokens": count})
        except Exception as error:
            known = request.get("id") if isinstance(request, dict) else None
            _reply({"id": known, "error": f"{type(error).__name__}: {error}"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="directory of the base model")
    parser.add_argument("--adapter", help="directory of an exported PEFT adapter")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    try:
        chat = Chat(arguments.model, arguments.adapter, arguments.threads)
    except Exception as error:
        _reply({"error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error
    _serve(chat)


if __name__ == "__main__":
    main()
