"""Rows → prepared data: templates, masks, truncation, packing, and the folder all of it ends in."""

from __future__ import annotations

import json
import multiprocessing
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_control_plane import job_spec
from tiny_model import CHATML, make_model_folder, tokenizer_of, write_chat

from shardwright_trainer.data.packing import PACKING_WINDOW, PreparedData, pack
from shardwright_trainer.data.prepare import prepare
from shardwright_trainer.rank.errors import UserError

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "1 é"},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "2"},
]
# No special token closes a turn.
ENDLESS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
PAIR = [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": "It."}]


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(folder: Path, rows: Path, model: Path | None = None, **data: Any) -> PreparedData:
    spec = job_spec(model or make_model_folder(folder / "model"), rows)
    spec["data"].update(data)
    return prepare(spec, str(model or folder / "model"), str(folder / "work"), lambda ratio, detail: None)


def learned_text(folder: Path, prepared: PreparedData, row: int = 0) -> str:
    found = prepared.row(row)
    tokenizer = tokenizer_of(folder / "model")
    text: str = tokenizer.decode(found.tokens[found.learned].tolist(), skip_special_tokens=False)
    return text


def text_of(folder: Path, prepared: PreparedData, row: int = 0) -> str:
    text: str = tokenizer_of(folder / "model").decode(
        prepared.row(row).tokens.tolist(), skip_special_tokens=False
    )
    return text


@pytest.mark.parametrize(
    ("mask", "learned"),
    [
        ("auto", "1 é<|im_end|>2<|im_end|>"),
        ("assistant", "1 é<|im_end|>2<|im_end|>"),
        ("last-assistant", "2<|im_end|>"),
    ],
)
def test_masks_learn_each_answer_and_its_end_once(tmp_path: Path, mask: str, learned: str) -> None:
    prepared = run(tmp_path, write_rows(tmp_path / "a.jsonl", [{"messages": CONVERSATION}]), mask=mask)
    assert learned_text(tmp_path, prepared) == learned
    # pad and eos are one token here: where it is no target, it is not learned either
    assert text_of(tmp_path, prepared).count("<|im_end|>") == 5


def test_mask_all_learns_everything_but_bos(tmp_path: Path) -> None:
    model = make_model_folder(tmp_path / "model", chat_template="{{ bos_token }}" + CHATML)
    rows = write_rows(tmp_path / "a.jsonl", [{"messages": PAIR}])
    prepared = run(tmp_path, rows, model, mask="all")
    text = text_of(tmp_path, prepared)
    assert text.startswith("<s><|im_start|>") and learned_text(tmp_path, prepared) == text.removeprefix("<s>")


def test_weight_zero_is_not_learned(tmp_path: Path) -> None:
    turns: list[dict[str, Any]] = [dict(message) for message in CONVERSATION]
    turns[2]["weight"] = 0
    prepared = run(tmp_path, write_rows(tmp_path / "a.jsonl", [{"messages": turns}]))
    assert learned_text(tmp_path, prepared) == "2<|im_end|>"


def test_a_token_is_learned_where_its_first_byte_is(tmp_path: Path) -> None:
    """ " 4" is one token that begins in the completion; "= 4" would be one that begins in the prompt."""
    merges = [("Ġ", "4"), ("=", "Ġ4")]
    one = tmp_path / "one"
    make_model_folder(one / "model", merges=merges[:1])
    rows = write_rows(tmp_path / "a.jsonl", [{"prompt": "2+2=", "completion": " 4"}])
    assert learned_text(one, run(one, rows, one / "model")) == " 4<|im_end|>"
    two = tmp_path / "two"
    make_model_folder(two / "model", merges=merges)
    # The pre-tokenizer never joins "=" and " 4": the same result, the mask still ends with the end token.
    assert learned_text(two, run(two, rows, two / "model")).endswith("<|im_end|>")


def test_bos_stands_before_plain_text_only_where_the_tokenizer_adds_it(tmp_path: Path) -> None:
    make_model_folder(tmp_path / "model", adds_bos=True)
    rows = write_rows(tmp_path / "a.jsonl", [{"text": "hello"}])
    prepared = run(tmp_path, rows, tmp_path / "model")
    assert text_of(tmp_path, prepared) == "<s>hello<|im_end|>"
    assert learned_text(tmp_path, prepared) == "hello<|im_end|>"


def test_one_conversation_in_six_shapes_is_the_same_tokens(tmp_path: Path) -> None:
    question, answer = "Say it", "It."
    (tmp_path / "mlx").mkdir()
    files = {
        "chat": write_rows(tmp_path / "chat.jsonl", [{"messages": PAIR}]),
        "completions": write_rows(tmp_path / "c.jsonl", [{"prompt": question, "completion": answer}]),
        "alpaca": tmp_path / "alpaca.json",
        "sharegpt": write_rows(
            tmp_path / "s.jsonl",
            [{"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}],
        ),
        "mlx": tmp_path / "mlx",
        "csv": tmp_path / "t.csv",
    }
    files["alpaca"].write_text(
        json.dumps([{"instruction": question, "input": "", "output": answer}], indent=1)
    )
    write_rows(tmp_path / "mlx" / "train.jsonl", [{"prompt": question, "completion": answer}])
    files["csv"].write_text(f"word,reading\n{question},{answer}\n")
    seen = set()
    for name, path in files.items():
        columns = {"input": "word", "output": "reading"} if name == "csv" else {}
        mask = "last-assistant" if name == "mlx" else "auto"
        prepared = run(tmp_path, path, template="chatml", map=columns, mask=mask)
        row = prepared.row(0)
        seen.add((tuple(row.tokens.tolist()), tuple(row.learned.tolist())))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("template", "given", "text"),
    [
        ("alpaca", "", "### Instruction:\nSay it\n\n### Response:\nIt.<|im_end|>"),
        ("alpaca", "now", "### Instruction:\nSay it\n\n### Input:\nnow\n\n### Response:\nIt.<|im_end|>"),
        ("alpaca-ja", "now", "### 指示:\nSay it\n\n### 入力:\nnow\n\n### 回答:\nIt.<|im_end|>"),
        ("dolly", "now", "### Instruction\nSay it\n\n### Context\nnow\n\n### Answer\nIt.<|im_end|>"),
        ("raw", "now", "Say it\nnowIt.<|im_end|>"),
    ],
)
def test_text_templates(tmp_path: Path, template: str, given: str, text: str) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [{"instruction": "Say it", "input": given, "output": "It."}])
    prepared = run(tmp_path, rows, template=template)
    assert text_of(tmp_path, prepared).endswith(text)
    assert learned_text(tmp_path, prepared) == "It.<|im_end|>"
    assert prepared.template["name"] == template and prepared.template["kind"] == "text"


def refused(tmp_path: Path, rows: list[Any], template: str | None = CHATML, **data: Any) -> UserError:
    model = make_model_folder(tmp_path / "model", chat_template=template)
    with pytest.raises(UserError) as caught:
        run(tmp_path, write_rows(tmp_path / "a.jsonl", rows), model, **data)
    return caught.value


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{% for x in range(100000) %}{% for y in range(100000) %}{% endfor %}{% endfor %}",
            "took longer than 2 s",
        ),
        ("{{ 'a' * 10000000000 }}", "a repetition is too long"),
        ("{{ 2 ** 100000000000 }}", "an exponent is too large"),
        ("{{ '%1000000000d' % 1 }}", "a format width is too large"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% for %}", "line 1 of the chat template"),
        ("x" * (65 << 10), "larger than 64 KiB"),
        ("{{ raise_exception('no system please') }}", "the chat template says: no system please"),
        ("{{ missing.field }}", "'missing' is undefined"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("\ud800", "not UTF-8 text"),
    ],
    ids=range(12),
)
def test_hostile_templates_give_a_clear_error(tmp_path: Path, template: str, said: str) -> None:
    error = refused(tmp_path, [{"messages": PAIR}], template)
    assert said in error.sentence
    assert error.code in {"template_invalid", "template_refused"}


def test_a_template_that_doubles_a_string_meets_the_memory_limit(tmp_path: Path) -> None:
    """In a process of its own, as the agent runs it; takes the seconds that filling memory takes."""
    doubling = "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
    model = make_model_folder(tmp_path / "model", chat_template=doubling)
    spec = job_spec(model, write_rows(tmp_path / "a.jsonl", [{"messages": PAIR}]))
    request = {"spec": spec, "modelDirectory": str(model), "workDirectory": str(tmp_path / "work")}
    done = subprocess.run(
        [sys.executable, "-m", "shardwright_trainer.data.prepare"],
        input=json.dumps(request).encode(),
        capture_output=True,
        check=False,
        cwd=Path(__file__).resolve().parent.parent,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1
    assert "chat template" in answer["sentence"] or answer["code"] == "out_of_memory"


def test_templates_that_no_mask_can_be_made_of(tmp_path: Path) -> None:
    counting = "{{ messages|length }}" + CHATML
    error = refused(tmp_path, [{"messages": CONVERSATION}], counting)
    assert error.code == "template_not_prefix_stable" and "a.jsonl:1: Example 1: message 3" in error.sentence
    error = refused(tmp_path, [{"messages": CONVERSATION}], ENDLESS)
    assert error.code == "template_no_turn_end"


def test_an_end_token_is_added_where_the_template_has_none(tmp_path: Path) -> None:
    model = make_model_folder(tmp_path / "model", chat_template=ENDLESS)
    prepared = run(tmp_path, write_rows(tmp_path / "a.jsonl", [{"messages": PAIR}]), model)
    assert learned_text(tmp_path, prepared) == "It.\n<|im_end|>"


def test_generation_blocks_must_agree_with_the_prefix(tmp_path: Path) -> None:
    good = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}"
        "{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    model = make_model_folder(tmp_path / "model", chat_template=good)
    prepared = run(tmp_path, write_rows(tmp_path / "a.jsonl", [{"messages": CONVERSATION}]), model)
    assert learned_text(tmp_path, prepared) == "1 é<|im_end|>2<|im_end|>"
    wrong = good.replace("m.role == 'assistant'", "m.role == 'user'")
    assert refused(tmp_path, [{"messages": CONVERSATION}], wrong).code == "template_masks_differ"


def test_special_tokens_in_content_are_refused(tmp_path: Path) -> None:
    turns = [PAIR[0], {"role": "assistant", "content": "x<|im_start|>system"}]
    error = refused(tmp_path, [{"messages": PAIR}, {"messages": turns}])
    assert error.code == "invalid_token"
    assert error.sentence.endswith("a.jsonl:2: Example 2 message contains an invalid token: <|im_start|>.")


def test_few_examples(tmp_path: Path) -> None:
    error = refused(tmp_path, [{"messages": PAIR}], allowSmall=False)
    assert error.sentence.endswith("Training file has 1 example(s), but must have at least 10 examples")
    error = refused(tmp_path, [], allowSmall=True)
    assert error.code == "invalid_n_examples"


def test_truncation(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [{"text": "abcdef"}, {"text": "ab"}])
    kept = {"policy": "truncate", "maxTokens": 4}
    prepared = run(tmp_path, rows, truncation=kept)
    assert text_of(tmp_path, prepared, 0) == "abcd"
    assert prepared.warnings[-1] == "1 examples exceed 4 tokens and will be truncated from the end."
    dropped = run(tmp_path, rows, truncation={"policy": "drop", "maxTokens": 4})
    assert dropped.rows == 1 and dropped.row(0).example_ids == (2,)
    with pytest.raises(UserError, match=r"1 examples exceed 4 tokens\."):
        run(tmp_path, rows, truncation={"policy": "error", "maxTokens": 4})
    pair = write_rows(
        tmp_path / "b.jsonl", [{"prompt": "abcdef", "completion": "g"}, {"prompt": "", "completion": "g"}]
    )
    with pytest.raises(UserError, match="Example 1 has no learned tokens left after truncation to 4"):
        run(tmp_path, pair, truncation=kept)


def test_warnings_of_the_whole_file(tmp_path: Path) -> None:
    rows = write_rows(
        tmp_path / "a.jsonl", [{"messages": PAIR}, {"messages": CONVERSATION}, {"messages": PAIR}]
    )
    held_out = {"source": str(write_rows(tmp_path / "v.jsonl", [{"messages": PAIR}])), "rowsMax": None}
    warnings = run(tmp_path, rows, validation=held_out).warnings
    assert "Example 3 duplicates example 1." in warnings
    assert "2 examples have no system message." in warnings
    assert "Validation example 1 is also training example 1." in warnings


@given(st.lists(st.integers(1, 64), max_size=80), st.integers(64, 90))
def test_packing_keeps_every_document_once_and_fits(lengths: list[int], width: int) -> None:
    rows = pack(lengths, width)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= width for row in rows)
    assert rows == pack(lengths, width)
    if rows:
        # Best fit never leaves two rows that would fit into one.
        sizes = sorted(sum(lengths[index] for index in row) for row in rows)
        assert len(rows) == 1 or sizes[0] + sizes[1] > width


def test_packing_looks_at_windows() -> None:
    chance = random.Random(3)
    lengths = [chance.randint(1, 100) for _ in range(PACKING_WINDOW * 2)]
    rows = pack(lengths, 128)
    assert all(len({index // PACKING_WINDOW for index in row}) == 1 for row in rows)
    assert sum(lengths) / (128 * len(rows)) > 0.97
    with pytest.raises(ValueError, match="document 0 has 200 tokens"):
        pack([200], 128)


def test_packed_rows_hold_the_same_documents(tmp_path: Path) -> None:
    rows = write_chat(tmp_path / "a.jsonl", 50)
    plain, packed = run(tmp_path, rows), run(tmp_path, rows, packing={"length": 200})
    assert packed.rows < plain.rows == 50
    assert (packed.tokens, packed.trained_tokens) == (plain.tokens, plain.trained_tokens)
    assert packed.row_tokens_max <= 200
    assert plain.trained_tokens == sum(plain.row_trained_tokens(i) for i in range(50))
    documents = {plain.row(i).example_ids[0]: plain.row(i) for i in range(50)}
    for i in range(packed.rows):
        row, begin = packed.row(i), 0
        targets = 0
        for length, example in zip(row.documents, row.example_ids, strict=True):
            alone = documents.pop(example)
            assert np.array_equal(row.tokens[begin : begin + length], alone.tokens)
            assert np.array_equal(row.learned[begin : begin + length], alone.learned)
            targets += int(alone.learned[1:].sum())
            begin += length
        assert begin == len(row.tokens) and targets == packed.row_trained_tokens(i)
    assert documents == {}


def test_the_folder_is_named_by_its_content(tmp_path: Path) -> None:
    rows = write_chat(tmp_path / "a.jsonl", 12)
    first = run(tmp_path, rows)
    assert run(tmp_path, rows).directory == first.directory
    assert run(tmp_path, rows, mask="all").digest != first.digest
    write_chat(rows, 13)
    assert run(tmp_path, rows).digest != first.digest
    assert len([path for path in (tmp_path / "work" / "data").iterdir() if path.is_dir()]) == 3


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    prepared = run(tmp_path, write_chat(tmp_path / "a.jsonl", 12))
    path = Path(prepared.directory) / "tokens.bin"
    payload = bytearray(path.read_bytes())
    payload[7] ^= 1
    path.write_bytes(payload)
    with pytest.raises(ValueError, match=r"tokens\.bin: its bytes do not match its digest"):
        PreparedData.open(prepared.directory)
    path.write_bytes(payload[:-1])
    with pytest.raises(ValueError, match="missing or not"):
        PreparedData.open(prepared.directory)
    with pytest.raises(IndexError):
        prepared.row(12)


def _prepare_once(folder: Path) -> str:
    spec = job_spec(folder / "model", folder / "a.jsonl")
    return prepare(spec, str(folder / "model"), str(folder / "work"), lambda ratio, detail: None).directory


def test_several_agents_prepare_once(tmp_path: Path) -> None:
    make_model_folder(tmp_path / "model")
    write_chat(tmp_path / "a.jsonl", 200)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_prepare_once, [tmp_path] * 3))) == 1
    folders = [path for path in (tmp_path / "work" / "data").iterdir() if path.is_dir()]
    assert len(folders) == 1
