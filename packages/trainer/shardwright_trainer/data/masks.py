"""Records → text with the spans that are learned. Prefix rendering: no template has to say what is whose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shardwright_trainer.data.records import Record
from shardwright_trainer.data.template import Template
from shardwright_trainer.rank.errors import UserError

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The text of one example and its learned characters, as ordered spans [begin, end)."""

    text: str
    learned: tuple[Span, ...]


class Renderer:
    """Renders records with one template and one mask policy ("auto": each record's own)."""

    def __init__(self, template: Template, mask: str) -> None:
        self._template = template
        self._mask = mask
        specials = sorted(template.tokenizer.specials, key=lambda text: (-len(text), text))
        self._specials = tuple(specials)
        self._special = re.compile("|".join(map(re.escape, specials)) or r"(?!)")

    def forbidden_token(self, record: Record) -> str | None:
        """The first special token inside what the user wrote; None where there is none.

        Documents of raw text may hold them: they are often rendered already.
        """
        if record.kind == "text":
            return None
        texts = [message["content"] for message in record.messages] + list(record.fields.values())
        found = next((found for text in texts if (found := self._special.search(text))), None)
        return None if found is None else found[0]

    def render(self, record: Record) -> Rendered:
        """Raises UserError for a record that does not go with the template or the policy."""
        mask = record.mask if self._mask == "auto" else self._mask
        chat = self._template.chat
        if record.kind == "text":
            return self._render_document(record.fields["text"], mask)
        if record.kind == "prompt" and (chat is None or self._template.name == "base"):
            return self._render_parts(record, mask)
        if chat is None:
            return self._render_parts(record, mask)
        if record.kind == "prompt":
            record = _as_chat(record)
        return self._render_chat(record, mask)

    def _render_document(self, text: str, mask: str) -> Rendered:
        if mask != "all":
            raise UserError("degenerate_mask", "Prompt masking not supported for text dataset.")
        bos, eos = self._template.bos, self._template.eos
        body = text if text.endswith(eos) else text + eos
        return Rendered(text=bos + body, learned=((len(bos), len(bos) + len(body)),))

    def _render_parts(self, record: Record, mask: str) -> Rendered:
        """Prompt and output of a text template, the end token once."""
        prompt, output = self._parts(record)
        eos, bos = self._template.eos, self._template.bos
        text = f"{bos}{prompt}{output}{eos}"
        begin = len(bos) if mask == "all" else len(bos) + len(prompt)
        return Rendered(text=text, learned=((begin, len(text)),))

    def _parts(self, record: Record) -> tuple[str, str]:
        name, form = self._template.name, self._template.form
        if record.kind == "prompt":
            fields = {"instruction": record.fields["prompt"], "output": record.fields["completion"]}
        elif {"instruction", "output"} <= record.fields.keys():
            fields = dict(record.fields)
        else:
            fields = _fields_of_chat(record, name)
        if form is not None:
            return form.prompt(fields), fields["output"]
        if name == "base" and record.kind == "chat":
            raise UserError("template_invalid", "the model has no chat template; set data.template")
        given = fields.get("input", "")
        asked = fields["instruction"] + (f"\n{given}" if given else "")
        system = fields.get("system", "")
        return (f"{system}\n{asked}" if system else asked), fields["output"]

    def _render_chat(self, record: Record, mask: str) -> Rendered:
        chat = self._template.chat
        assert chat is not None
        messages, tools = list(record.messages), record.tools
        full = chat.render(messages, tools, False)
        if mask == "all":
            text = full if self._end_of_turn(full, 0) else full + self._template.eos
            bos = self._template.tokenizer.named.get("bos_token")
            begin = len(bos) if bos is not None and text.startswith(bos) else 0
            return Rendered(text=text, learned=((begin, len(text)),))
        turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        if mask == "last-assistant":
            turns = turns[-1:]
        spans: list[Span] = []
        for index in turns:
            if messages[index].get("weight", 1) == 0:
                continue
            begin, end, full = self._turn(record, index, full)
            spans.append((begin, end))
        if chat.marks_generation and mask in {"assistant", "completion"}:
            self._compare(full, spans, chat.generated(messages, tools))
        return Rendered(text=full, learned=tuple(spans))

    def _turn(self, record: Record, index: int, full: str) -> tuple[int, int, str]:
        """Learned span of one assistant turn, and the text: with an end token where the template has none."""
        chat = self._template.chat
        assert chat is not None
        messages, tools = record.messages, record.tools
        before = chat.render(messages[:index], tools, True)
        upto = chat.render(messages[: index + 1], tools, False)
        if not upto.startswith(before) or not full.startswith(before):
            raise UserError(
                "template_not_prefix_stable",
                f"message {index + 1}: the chat template writes the beginning of a conversation differently "
                "once it goes on; set data.mask to last-assistant",
            )
        end = self._end_of_turn(upto, len(before))
        if end is None:
            if index + 1 < len(messages):
                raise UserError(
                    "template_no_turn_end",
                    f"message {index + 1}: the chat template marks no end of an assistant turn; "
                    "set data.mask to last-assistant",
                )
            full = upto + self._template.eos
            return len(before), len(full), full
        if full[:end] != upto[:end]:
            raise UserError(
                "template_not_prefix_stable",
                f"message {index + 1}: the chat template writes an answer differently once the conversation "
                "goes on; set data.mask to last-assistant",
            )
        return len(before), end, full

    def _end_of_turn(self, text: str, begin: int) -> int | None:
        """Where the first of the special tokens that close `text` ends; None where none closes it.

        Some templates close the last turn and the conversation: only the turn's own end is learned.
        """
        token = self._special.search(text, self._closing(text, begin))
        return None if token is None else token.end()

    def _closing(self, text: str, begin: int) -> int:
        """Where the run of special tokens and white space that ends `text` starts, not before `begin`."""
        end = len(text)
        while True:
            end = begin + len(text[begin:end].rstrip())
            last = next((token for token in self._specials if text.endswith(token, begin, end)), None)
            if last is None:
                return end
            end -= len(last)

    def _compare(self, text: str, spans: Sequence[Span], generated: Sequence[Span]) -> None:
        """Both ways to tell the model's words must agree, up to the end token and white space."""
        marked = [span for span in generated if text[slice(*span)].strip()]
        if [self._core(text, span) for span in spans] != [self._core(text, span) for span in marked]:
            raise UserError(
                "template_masks_differ",
                "the chat template's {% generation %} blocks do not hold the assistant turns",
            )

    def _core(self, text: str, span: Span) -> Span:
        begin, end = span
        stop = self._closing(text[:end], begin)
        return begin + len(text[begin:stop]) - len(text[begin:stop].lstrip()), stop


def _as_chat(record: Record) -> Record:
    messages = (
        {"role": "user", "content": record.fields["prompt"]},
        {"role": "assistant", "content": record.fields["completion"], "weight": 1},
    )
    return Record(kind="chat", messages=messages, mask=record.mask, line=record.line, example=record.example)


def _fields_of_chat(record: Record, template: str) -> dict[str, str]:
    system = [message["content"] for message in record.messages if message["role"] == "system"]
    turns = [message for message in record.messages if message["role"] != "system"]
    if [turn["role"] for turn in turns] != ["user", "assistant"] or len(system) > 1:
        raise UserError(
            "template_invalid",
            f"template {template} takes one question and one answer; the conversation has {len(turns)} turns",
        )
    fields = {"instruction": turns[0]["content"], "output": turns[1]["content"]}
    return {**fields, "system": system[0]} if system else fields


def learned_tokens(starts: Sequence[int], spans: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """bool [t]: a token is learned iff its first character lies in a learned span."""
    begins = np.array(starts, np.int64)
    learned = np.zeros(len(starts), np.bool_)
    for begin, end in spans:
        learned |= (begins >= begin) & (begins < end)
    return learned
