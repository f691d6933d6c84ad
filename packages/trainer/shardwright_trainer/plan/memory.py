"""Bytes of one rank at its peak: the planner's closed forms, for a trainer to check itself by.

The twin of packages/planner/src/{states,activations,memory}.ts; both are held to the same golden vectors.
Everything is whole bytes, rounded up once. Nothing here needs torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

from shardwright_trainer.plan.lanes import cover

FITS_RATIO_MAX = 0.92
"""Above this share of a device a plan does not fit: fragmentation and strangers need the rest."""

NF4_BYTES_PER_16384 = 8452
"""4 bits a value, an 8-bit scale per 64 values, a 32-bit one per 256 scales."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """One linear of a layer, by its name inside the layer."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What the arithmetic must know of a base model; the fields of the planner's card."""

    architecture: str
    layers: int
    hidden: int
    q: int
    kv: int
    ff: int
    heads: int
    vocabulary: int
    tied: bool
    parameters: int
    linear_parameters: int
    linears: tuple[Linear, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterShape:
    r: int
    linears: int
    """Adapted linears of one layer."""
    trainable_elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateScheme:
    """Bytes per trainable element."""

    weights: int
    gradients: int
    optimizer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryQuestion:
    """One way to run a job on one rank; see the planner's MemoryQuestion for the meaning of each field."""

    card: ModelCard
    adapter: AdapterShape | None
    quantised: bool
    scheme: StateScheme
    value_bytes: int
    wire_bytes: int
    stage: int
    ranks: int
    copies: int
    block_elements: int
    lanes: int
    tokens: int
    span_tokens: int
    loss_tokens: int
    cross_entropy_rows: int
    checkpointing: str
    concatenated: bool
    attention: str
    autograd_bytes: int
    exchange_bytes: int
    context_bytes: int
    slack_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBytes:
    """The categories, in the order of every report."""

    weights: int
    gradients: int
    optimizer: int
    replicas: int
    activations: int
    logits: int
    transients: int
    context: int
    slack: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    bytes: MemoryBytes
    peak_bytes: int
    phase: str
    """"forward", "backward" or "optimizer": where the peak is."""


def block_elements_for(trainable_elements: int) -> int:
    """The largest power of two in [256, 2^20] that still gives at least 512 blocks."""
    elements = 2**20
    while elements > 2**8 and trainable_elements / elements < 512:
        elements //= 2
    return elements


def held_blocks_max(elements: int, block_elements: int, ranks: int, copies: int) -> tuple[int, int]:
    """(owned, replicas): blocks of the rank that owns most, and the replicas beside them."""
    blocks = -(-elements // block_elements)
    owned = -(-blocks // ranks)
    if copies >= ranks:
        return owned, blocks - owned
    return owned, -(-(blocks * (copies - 1)) // ranks)


def equal_lanes(lanes: int, ranks: int) -> list[tuple[int, int]]:
    """[begin, end) of equal ranks: the first lanes mod ranks take one more."""
    share, more = divmod(lanes, ranks)
    begins = [rank * share + min(rank, more) for rank in range(ranks + 1)]
    return list(pairwise(begins))


def live_max(lanes: int, ranks: int) -> int:
    """Accumulators alive at once on the rank that needs most."""
    return max(
        1 + max((len(cover(begin, lane)) for lane in range(begin, end)), default=0)
        for begin, end in equal_lanes(lanes, ranks)
    )


def release_partials_max(lanes: int, ranks: int) -> int:
    """Partial sums [p] alive at once in stage 2 on the rank that needs most; 0 on a single rank.

    After each round lanes [0, m) are in, summed up in cover(0, m); then every rank with a lane sends one. A
    rank copies its own part out of its accumulator, which works on; in the last round it need not.
    """
    if ranks == 1:
        return 0
    most = 0
    for first in range(0, lanes, ranks):
        sent = min(ranks, lanes - first)
        # Of the ranks without a lane in the last round each receives them all.
        received = sent if first + sent < lanes or sent < ranks else sent - 1
        most = max(most, len(cover(0, first)) + received)
    return most


def arrival_bytes(held_elements: int, ranks: int, lanes: int, wire_bytes: int) -> int:
    """Buffers for the partial sums of the other ranks, of the rank that receives most."""
    nodes = [len(cover(begin, end)) for begin, end in equal_lanes(lanes, ranks)]
    return (sum(nodes) - min(nodes)) * held_elements * wire_bytes


def quantised_base_bytes(card: ModelCard) -> int:
    """A frozen base whose layer linears are NF4 with double quantisation and whose rest is 16 bits wide."""
    linear = -(-card.linear_parameters * NF4_BYTES_PER_16384 // 16384)
    return linear + 2 * (card.parameters - card.linear_parameters)


def layer_bytes_per_token(question: MemoryQuestion) -> int:
    """What autograd keeps of one layer per token when nothing is recomputed; exact, not an estimate."""
    card, b, adapter = question.card, question.value_bytes, question.adapter
    h, ff = card.hidden, card.ff
    attention = _attention_bytes(question)
    match card.architecture:
        case "llama" | "qwen2" | "mistral":
            kept, frozen = 2 * (4 * h + 4 + 2 * b * h) + attention + 4 * b * ff, 2 * b * h
        case "gemma2":
            kept, frozen = 4 * (8 * h + 4) + 2 * b * h + attention + 4 * b * ff, 16 * h
        case "gpt2":
            kept, frozen = b * (4 * h + 4) + attention + 5 * b * ff, 0
        case other:
            raise ValueError(f"no closed form for architecture {other!r}")
    return kept if adapter is None else kept - frozen + b * adapter.r * adapter.linears


def _attention_bytes(question: MemoryQuestion) -> int:
    card, b = question.card, question.value_bytes
    if question.attention != "math":
        return 2 * b * card.q + 2 * b * card.kv + 4 * card.heads
    capped = b if card.architecture == "gemma2" else 0
    narrow = 0 if b == 4 else b
    return 4 * b * card.q + question.span_tokens * (card.heads * (capped + 4 + narrow) + 1)


def memory_of(question: MemoryQuestion) -> MemoryEstimate:
    """peak = (states + the largest of three phases) · (1 + slack) + context."""
    weights, gradients, optimizer, replicas = _states(question)
    phases = _phases(question)
    phase = max(phases, key=lambda name: sum(phases[name]))
    activations, logits, transients = phases[phase]
    used = weights + gradients + optimizer + replicas + activations + logits + transients
    found = MemoryBytes(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        replicas=replicas,
        activations=activations,
        logits=logits,
        transients=transients,
        context=question.context_bytes,
        slack=math.ceil(used * question.slack_ratio),
    )
    return MemoryEstimate(bytes=found, peak_bytes=sum(asdict(found).values()), phase=phase)


def _states(question: MemoryQuestion) -> tuple[int, int, int, int]:
    """(weights, gradients, optimizer, replicas)."""
    card, scheme, adapter = question.card, question.scheme, question.adapter
    elements = card.parameters if adapter is None else adapter.trainable_elements
    owned, replicas = held_blocks_max(elements, question.block_elements, question.ranks, question.copies)
    base_bytes = scheme.weights if adapter is None else question.value_bytes
    base = quantised_base_bytes(card) if question.quantised else base_bytes * card.parameters
    weights = base + (0 if adapter is None else scheme.weights * elements)
    if question.stage == 3:
        weights = -(-weights // question.ranks)
    if question.stage == 0:
        owned, replicas = owned + replicas, 0
    per_block = scheme.optimizer * question.block_elements
    return weights, _gradients(question, elements), per_block * owned, per_block * replicas


def _gradients(question: MemoryQuestion, elements: int) -> int:
    narrow = question.autograd_bytes * elements
    ranks, lanes, accumulator = question.ranks, question.lanes, question.scheme.gradients
    if question.stage == 3:
        return narrow + -(-(accumulator * elements) // ranks)
    if question.stage == 2 and ranks > 1:
        is_copied = question.wire_bytes < accumulator and question.autograd_bytes != question.wire_bytes
        return narrow + (accumulator + (question.wire_bytes if is_copied else 0)) * elements
    return narrow + accumulator * elements + (live_max(lanes, ranks) - 1) * question.wire_bytes * elements


def _phases(question: MemoryQuestion) -> dict[str, tuple[int, int, int]]:
    """Phase → (activations, logits, transients); the first of equals is the peak."""
    card, b, tokens = question.card, question.value_bytes, question.tokens
    exchange = question.exchange_bytes
    layer = layer_bytes_per_token(question)
    recomputes = question.checkpointing == "full"
    activations = (b * card.hidden if recomputes else layer) * card.layers * tokens
    if question.concatenated and not recomputes:
        activations += b * card.q * card.layers * tokens
    working = layer * tokens * (2 if recomputes else 1)
    if question.quantised:
        working += b * max(linear.inputs * linear.outputs for linear in card.linears)
    if question.stage == 3:
        working += _unit_bytes(question)
    return {
        "forward": (activations, _logits(question), exchange),
        "backward": (activations, 0, exchange + working),
        "optimizer": (0, 0, exchange + 3 * 4 * question.block_elements),
    }


def _logits(question: MemoryQuestion) -> int:
    card, loss_tokens = question.card, question.loss_tokens
    rows = min(question.cross_entropy_rows, loss_tokens)
    chunked = 12 * card.vocabulary * rows + 2 * question.value_bytes * card.hidden * loss_tokens
    return chunked + (4 * card.vocabulary * card.hidden if question.adapter is None else 0)


def _unit_bytes(question: MemoryQuestion) -> int:
    """Stage 3: two whole layers, whole embedding and head, one layer's gradient in fp32."""
    card, b = question.card, question.value_bytes
    layer = sum(linear.inputs * linear.outputs for linear in card.linears)
    root = card.vocabulary * card.hidden * (1 if card.tied else 2)
    return 2 * b * layer + b * root + 4 * layer
