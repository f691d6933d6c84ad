"""A model's chat template, run as transformers runs it, but bounded: a template is code of a stranger."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shardwright_trainer.data.messages import Message
from shardwright_trainer.rank.errors import UserError

# The longest template known has 16 KiB.
TEMPLATE_BYTES_MAX = 64 << 10
RENDER_SECONDS_MAX = 2.0
RENDERED_CHARACTERS_MAX = 32 << 20
_REPEATED_MAX = 1 << 20
_POWER_MAX = 64
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(?:\d{4}|\*)")
# Some templates print today's date. Training must not depend on the day it runs; this is the date that
# Llama's template prints when it is told none.
TEMPLATE_DATE = date(2024, 7, 26)
# Marks of {% generation %} blocks; NUL never comes from data (sources.py refuses it).
_OPEN, _CLOSE = "\0<", "\0>"


class TemplateRefused(jinja2.TemplateError):
    """The template itself called raise_exception."""


class _TooSlow(BaseException):
    """Ends a render; not an Exception, so that nothing between catches it."""


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        sized = [value for value in (left, right) if hasattr(value, "__len__")]
        numbers = [value for value in (left, right) if isinstance(value, int)]
        if operator == "*" and sized and numbers and len(sized[0]) * numbers[0] > _REPEATED_MAX:
            raise SecurityError("a repetition is too long")
        if operator == "**" and isinstance(right, int | float) and abs(right) > _POWER_MAX:
            raise SecurityError("an exponent is too large")
        if operator == "%" and isinstance(left, str) and _WIDE_FORMAT.search(left):
            raise SecurityError("a format width is too large")
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """{% generation %} … {% endgeneration %}: the model's own words, as newer templates mark them."""

    tags = {"generation"}  # noqa: RUF012 - jinja's interface

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.seen = False
        self.marking = False

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        self.seen = True
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        text = caller()
        return f"{_OPEN}{text}{_CLOSE}" if self.marking else text


class ChatTemplate:
    """A compiled chat template. Raises UserError for one that is too large or not Jinja."""

    def __init__(self, source: str, named_tokens: Mapping[str, str], where: str) -> None:
        try:
            size = len(source.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise UserError("template_invalid", f"{where}: the chat template is not UTF-8 text") from error
        if size > TEMPLATE_BYTES_MAX:
            raise UserError("template_invalid", f"{where}: the chat template is larger than 64 KiB")
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = TEMPLATE_DATE.strftime
        self.source = source
        self._where = where
        self._named = dict(named_tokens)
        try:
            with _bounded():
                self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(
                "template_invalid", f"{where}: line {error.lineno} of the chat template: {error.message}"
            ) from error
        except (RecursionError, MemoryError, _TooSlow, SyntaxError) as error:
            raise UserError("template_invalid", f"{where}: the chat template is too complex") from error
        self._generation = next(
            extension for extension in environment.extensions.values() if isinstance(extension, _Generation)
        )

    @property
    def marks_generation(self) -> bool:
        """Whether the template says itself which words are the model's."""
        return self._generation.seen

    def render(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], add_generation_prompt: bool
    ) -> str:
        """Text of a conversation. Raises UserError with the template's complaint."""
        shown = [{key: value for key, value in message.items() if key != "weight"} for message in messages]
        try:
            with _bounded():
                text = self._template.render(
                    **self._named,
                    messages=shown,
                    tools=list(tools) or None,
                    documents=None,
                    add_generation_prompt=add_generation_prompt,
                )
        except _TooSlow as error:
            raise UserError(
                "template_invalid",
                f"{self._where}: the chat template took longer than {RENDER_SECONDS_MAX:g} s",
            ) from error
        except TemplateRefused as error:
            raise UserError("template_refused", f"the chat template says: {error.message}") from error
        except Exception as error:  # whatever a stranger's code may raise
            raise UserError("template_refused", f"the chat template failed: {error}") from error
        if len(text) > RENDERED_CHARACTERS_MAX:
            raise UserError("template_invalid", f"{self._where}: the chat template's text is too long")
        return text

    def generated(
        self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]
    ) -> list[tuple[int, int]]:
        """Characters [begin, end) of the conversation's text inside {% generation %} blocks."""
        self._generation.marking = True
        try:
            marked = self.render(messages, tools, False)
        finally:
            self._generation.marking = False
        spans, length = [], 0
        for index, piece in enumerate(marked.split("\0")):
            text = piece[1:] if index else piece
            if piece.startswith("<") and index:
                spans.append((length, length + len(text)))
            length += len(text)
        return spans


def _refuse(message: str) -> None:
    raise TemplateRefused(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # transformers' filter: the built-in one escapes HTML.
    width = indent if indent is None else max(0, min(indent, 16))
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=width, separators=separators, sort_keys=sort_keys
    )


@contextmanager
def _bounded() -> Iterator[None]:
    """A time limit, where signals can give one: the main thread, in which data preparation runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, RENDER_SECONDS_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
