"""Score a model on held-out chat rows that end in JSON: `python -m shardwright_trainer.evaluate`.

Greedy answers, scored by three figures: valid JSON (an object can be read from the answer), field F1 (micro,
over (key, value) pairs) and exact match (all fields equal, none extra). The first object in the text counts,
so that an answer wrapped in prose or a code fence is not held against the model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shardwright_trainer.serve import Chat, Message

# Decoding reads all weights once a token, however many rows there are; more rows want memory for their keys
# and values.
BATCH_ROWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    prompt: list[Message]
    expected: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    rows: int
    valid_json: float
    field_f1: float
    exact_match: float


def read_rows(path: Path, limit: int | None) -> list[Row]:
    """Rows whose last message is the assistant's JSON answer. Raises ValueError with the line."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            *prompt, answer = json.loads(line)["messages"]
            expected = json.loads(answer["content"])
        except (ValueError, KeyError, TypeError) as error:
            where = f"{path}:{number}"
            raise ValueError(f"{where}: expected chat messages ending in a JSON answer ({error})") from error
        rows.append(Row(prompt=prompt, expected=expected))
    return rows[:limit]


def with_examples(row: Row, examples: Sequence[Row]) -> list[Message]:
    """The prompt with answered examples as earlier turns, after the system message."""
    system = [message for message in row.prompt if message["role"] == "system"]
    turns: list[Message] = []
    for example in examples:
        turns += [message for message in example.prompt if message["role"] != "system"]
        turns.append({"role": "assistant", "content": json.dumps(example.expected)})
    return system + turns + [message for message in row.prompt if message["role"] != "system"]


def first_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in the text, or None."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text, start)
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        start = text.find("{", start + 1)
    return None


def score(answers: Sequence[str], rows: Sequence[Row]) -> Scores:
    """Scores of answers against rows, in order."""
    valid = exact = matched = given = wanted = 0
    for text, row in zip(answers, rows, strict=True):
        found = first_object(text)
        valid += found is not None
        pairs = {(key, str(value)) for key, value in (found or {}).items()}
        expected = set(row.expected.items())
        exact += pairs == expected
        matched += len(pairs & expected)
        given += len(pairs)
        wanted += len(expected)
    count = max(1, len(rows))
    f1 = 2 * matched / (given + wanted) if given + wanted else 0.0
    return Scores(rows=len(rows), valid_json=valid / count, field_f1=f1, exact_match=exact / count)


def evaluate(
    chat: Chat, prompts: Sequence[list[Message]], new_tokens_max: int, progress: Callable[[int], None]
) -> list[str]:
    """Answers in the order of the prompts; batches hold prompts of like length."""
    order = sorted(range(len(prompts)), key=lambda index: len(str(prompts[index])))
    answers = [""] * len(prompts)
    for start in range(0, len(order), BATCH_ROWS):
        batch = order[start : start + BATCH_ROWS]
        # Only the first object counts, so what a model says after it need not be waited for.
        chosen = [prompts[i] for i in batch]
        given = chat.answer_all(chosen, new_tokens_max, lambda text: first_object(text) is not None)
        for index, answer in zip(batch, given, strict=True):
            answers[index] = answer.text
        progress(min(start + BATCH_ROWS, len(order)))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--rows", required=True, type=Path, help="JSONL chat rows to score on")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--examples", type=Path, help="JSONL chat rows to take few-shot examples from")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--max-new-tokens", type=int, default=160)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    rows = read_rows(arguments.rows, arguments.limit)
    examples = read_rows(arguments.examples, arguments.shots) if arguments.shots else []
    prompts = [with_examples(row, examples) for row in rows]
    chat = Chat(arguments.model, arguments.adapter, arguments.threads)

    def say(done: int) -> None:
        sys.stdout.write(json.dumps({"done": done, "total": len(rows)}) + "\n")
        sys.stdout.flush()

    say(0)
    answers = evaluate(chat, prompts, arguments.max_new_tokens, say)
    result = {
        "scores": asdict(score(answers, rows)),
        "answers": [
            {"prompt": row.prompt[-1]["content"], "expected": row.expected, "answer": answer}
            for row, answer in zip(rows, answers, strict=True)
        ],
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
