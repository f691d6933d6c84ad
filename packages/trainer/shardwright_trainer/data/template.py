"""Which words surround an example: the model's chat template or a shipped one, and what is stored of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardwright_trainer.data.jinja import TEMPLATE_BYTES_MAX, ChatTemplate
from shardwright_trainer.data.tokenizer import ModelTokenizer
from shardwright_trainer.rank.errors import UserError

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextForm:
    """A text template: what stands before the output, with and without an input."""

    with_input: str
    without_input: str

    def prompt(self, fields: Mapping[str, str]) -> str:
        """Everything before the output. fields: instruction, input, and system where there is one."""
        form = self.with_input if fields.get("input") else self.without_input
        text = form.format(instruction=fields.get("instruction", ""), input=fields.get("input", ""))
        return f"{fields['system']}\n\n{text}" if fields.get("system") else text


_ALPACA_TASK = "Below is an instruction that describes a task"
_ALPACA_WRITE = "Write a response that appropriately completes the request."
FORMS: Mapping[str, TextForm] = {
    "alpaca": TextForm(
        with_input=f"{_ALPACA_TASK}, paired with an input that provides further context. {_ALPACA_WRITE}\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        without_input=f"{_ALPACA_TASK}. {_ALPACA_WRITE}\n\n"
        "### Instruction:\n{instruction}\n\n### Response:\n",
    ),
    "alpaca-ja": TextForm(
        with_input="以下は、タスクを説明する指示と、文脈のある入力の組み合わせです。要求を適切に満たす応答を書きなさい。\n\n"
        "### 指示:\n{instruction}\n\n### 入力:\n{input}\n\n### 回答:\n",
        without_input="以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。\n\n"
        "### 指示:\n{instruction}\n\n### 回答:\n",
    ),
    "dolly": TextForm(
        with_input="### Instruction\n{instruction}\n\n### Context\n{input}\n\n### Answer\n",
        without_input="### Instruction\n{instruction}\n\n### Answer\n",
    ),
}
NAMES = ("base", "chatml", "raw", *FORMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """How examples of one job become text.

    chat: for conversations, None where the template has none. form: for named fields, None for chat and raw.
    """

    name: str
    chat: ChatTemplate | None
    form: TextForm | None
    source: str
    tokenizer: ModelTokenizer

    @property
    def eos(self) -> str:
        """The end token. Raises UserError where the tokenizer has none."""
        found = self.tokenizer.named.get("eos_token")
        if found is None:
            raise UserError(
                "template_invalid",
                "tokenizer_config.json names no eos_token; this template needs an end token",
            )
        return found

    @property
    def bos(self) -> str:
        """What plain text begins with: the BOS token where the tokenizer adds one."""
        return self.tokenizer.named["bos_token"] if self.tokenizer.adds_bos else ""

    def to_object(self, mask: str) -> dict[str, Any]:
        """The content of shardwright_template.json, kept with every adapter of the job."""
        eos = self.tokenizer.named.get("eos_token")
        return {
            "name": self.name,
            "kind": "text" if self.form is not None or self.name == "raw" else "chat",
            "source": self.source,
            "eos": eos,
            "appendEos": True,
            "stop": [] if eos is None else [eos],
            "mask": mask,
            "bos": self.bos or None,
            "tokenizerSha256": self.tokenizer.sha256,
            "templateSha256": hashlib.sha256(self.source.encode("utf-8")).hexdigest(),
        }


def load_template(name: str, model_directory: str, tokenizer: ModelTokenizer) -> Template:
    """The template that `data.template` names. Raises UserError for an unknown or unusable one."""
    if name in FORMS:
        form = FORMS[name]
        source = form.with_input + "{output}\0" + form.without_input + "{output}"
        return Template(name=name, chat=None, form=form, source=source, tokenizer=tokenizer)
    if name == "raw":
        return Template(name=name, chat=None, form=None, source="{prompt}{completion}", tokenizer=tokenizer)
    if name == "chatml":
        missing = [token for token in ("<|im_start|>", "<|im_end|>") if token not in tokenizer.specials]
        if missing:
            raise UserError(
                "template_invalid", f"template chatml: the tokenizer has no token {' and no '.join(missing)}"
            )
        chat = ChatTemplate(_CHATML, tokenizer.named, "template chatml")
        return Template(name=name, chat=chat, form=None, source=_CHATML, tokenizer=tokenizer)
    if name != "base":
        raise UserError("template_invalid", f"data.template is '{name}'; expected one of {', '.join(NAMES)}")
    found, where = _base_source(Path(model_directory), tokenizer)
    own = None if found is None else ChatTemplate(found, tokenizer.named, where)
    source = found or "{prompt}{completion}"
    return Template(name=name, chat=own, form=None, source=source, tokenizer=tokenizer)


def _base_source(folder: Path, tokenizer: ModelTokenizer) -> tuple[str | None, str]:
    """The model's own chat template; None for a base model without one."""
    beside = folder / "chat_template.jinja"
    if beside.is_file():
        if beside.stat().st_size > TEMPLATE_BYTES_MAX:
            raise UserError("template_invalid", f"{beside}: the chat template is larger than 64 KiB")
        try:
            return beside.read_text(encoding="utf-8"), str(beside)
        except UnicodeDecodeError as error:
            raise UserError("template_invalid", f"{beside}: not UTF-8 text ({error})") from error
    path = folder / "tokenizer_config.json"
    value = tokenizer.config.get("chat_template")
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default")
    if value is not None and not isinstance(value, str):
        raise UserError("template_invalid", f"{path}: chat_template must be text")
    return value, str(path)
