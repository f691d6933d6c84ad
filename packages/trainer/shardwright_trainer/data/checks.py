"""Checks that need the whole file: how many examples, what is learned, what comes twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from shardwright_trainer.data.complaints import Complaints
from shardwright_trainer.data.packing import Document
from shardwright_trainer.data.records import Record

# Fewer examples teach nothing; the hosted services refuse them too.
EXAMPLES_MIN = 10


def check_count(records: Sequence[Record], allow_small: bool, complaints: Complaints) -> None:
    """Note a file with no example, or with fewer than EXAMPLES_MIN unless that is allowed."""
    count = len(records)
    text = f"Training file has {count} example(s), but must have at least {EXAMPLES_MIN} examples"
    if count == 0 or (count < EXAMPLES_MIN and not allow_small):
        # What is wrong with single rows says more than their number.
        if complaints.errors_count == 0:
            complaints.error("invalid_n_examples", text)
    elif count < EXAMPLES_MIN:
        complaints.warn(text)


def cut(documents: list[Document], limit: int, policy: str, complaints: Complaints) -> list[Document]:
    """Documents of at most `limit` tokens, by the policy truncate, drop or error."""
    long = sum(len(document.tokens) > limit for document in documents)
    if long == 0:
        return documents
    if policy == "error":
        complaints.error("truncated", f"{long} examples exceed {limit} tokens.")
        return documents
    if policy == "drop":
        complaints.warn(f"{long} examples exceed {limit} tokens and were dropped.")
        return [document for document in documents if len(document.tokens) <= limit]
    complaints.warn(f"{long} examples exceed {limit} tokens and will be truncated from the end.")
    cut = []
    for document in documents:
        learned = document.learned[:limit]
        if not learned[1:].any() and document.learned[1:].any():
            complaints.error(
                "no_learned_tokens",
                f"Example {document.example_id} has no learned tokens left after truncation to {limit}.",
                example=document.example_id,
            )
        cut.append(Document(tokens=document.tokens[:limit], learned=learned, example_id=document.example_id))
    return cut


def check_masks(
    documents: Sequence[Document], mask: str, records: Sequence[Record], complaints: Complaints
) -> None:
    """Note documents, or a whole file, that teach nothing because of their mask."""
    text = "The template marks no assistant tokens; choose another mask policy."
    if not documents:
        if complaints.errors_count == 0:
            complaints.error("invalid_n_examples", "No example is left to train on.")
        return
    targets = [int(document.learned[1:].sum()) for document in documents]
    policy = records[0].mask if mask == "auto" else mask
    everything = all(bool(document.learned.all()) for document in documents)
    if not any(targets) or (policy == "assistant" and everything):
        complaints.error("degenerate_mask", text)
        return
    for document, count in zip(documents, targets, strict=True):
        if count == 0:
            message = f"Example {document.example_id} has no learned tokens."
            complaints.error("no_learned_tokens", message, example=document.example_id)


def fingerprint(record: Record) -> str:
    """Equal for two records with the same content, wherever they stand."""
    content = [record.messages, record.tools, sorted(record.fields.items())]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def warn_duplicates(records: Sequence[Record], complaints: Complaints) -> None:
    """Warn of examples that come twice, and of chats without a system or user message."""
    seen: dict[str, int] = {}
    for record in records:
        first = seen.setdefault(fingerprint(record), record.example)
        if first != record.example:
            complaints.warn(f"Example {record.example} duplicates example {first}.")
    chats = [record for record in records if record.kind == "chat"]
    for role in ("system", "user"):
        without = sum(all(message["role"] != role for message in record.messages) for record in chats)
        if without:
            complaints.warn(f"{without} examples have no {role} message.")
