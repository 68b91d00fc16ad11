"""Bytes that a rank holds in each phase of a training step, term by term.

Weights, gradients and moments by Rajbhandari et al. 2020, §3.1, here in float32 (bf16 is of matrix
products alone); what they are divided by, §5. Activations by the method of Korthikanti et al. 2022,
§4, for the tensors that these blocks keep: no dropout, fused attention that keeps no scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fledge.costs.work import Work
from fledge.log_prob import CHUNK, FEWEST, KEPT
from fledge.models.language.attention_kernel import load_kernel
from fledge.models.language.norms import NormKind

NUMBER = 4  # bytes of a number that is learned
MOMENTS = 2  # of AdamW; Muon has one, of matrices between embeddings and heads
PASSING = 2  # copies of an MLP's hidden numbers on the way back through a layer
CHUNK_ROWS = 1024  # of logits at a time (`fledge.policy.TokenPolicy`)


@dataclass(frozen=True)
class Term:
    """Bytes of one thing, and by which formula."""

    name: str
    size: float
    formula: str


@dataclass(frozen=True)
class Phase:
    """What is there at the same time."""

    name: str
    terms: tuple[Term, ...]

    @property
    def size(self) -> float:
        return sum(term.size for term in self.terms)


def list_phases(work: Work, *, on_cpu: bool = False) -> list[Phase]:
    """Of one optimizer step that is not the first, and of answering prompts where it does."""
    always = (_weights(work), _moments(work))
    gathered, kept = _outside(work), _kept(work, on_cpu)
    block = [*_again(work, on_cpu), *_gathered(work), _passing(work)]
    read_again = [] if work.layout.gradient_checkpointing else _rounded(work)
    loss = [*_before(work), *gathered, kept, *_rounded(work), *_loss(work, on_cpu)]
    last = [*_first_gradients(work), *gathered, kept, *read_again, *block]
    phases = [
        Phase("loss", (*always, *loss)),
        Phase("last block back", (*always, *last)),
        Phase("first block back", (*always, *_last_gradients(work), *gathered, *block)),
        Phase("optimizer", (*always, _gradients(work), _stepping(work))),
    ]
    if work.layout.divides:
        phases.insert(3, Phase("embeddings back", (*always, *_ending(work))))
    if work.slots:
        phases.append(Phase("answering", (*always, *_engine(work))))
    return phases


def find_peak(work: Work, *, on_cpu: bool = False) -> Phase:
    """The phase that takes most."""
    return max(list_phases(work, on_cpu=on_cpu), key=lambda phase: phase.size)


def count_moments(work: Work) -> int:
    """Numbers of the optimizer's state that a rank holds."""
    if work.optimizer == "adamw":
        return MOMENTS * work.held
    return MOMENTS * work.held - work.tensors.matrices


def count_passing(sizes: Any, tokens: int) -> int:
    """Bytes of the widest part's numbers on the way back through one layer. sizes: of any network
    that knows its `widest`.
    """
    return PASSING * sizes.widest * NUMBER * tokens


def count_engine(sizes: Any, rows: int, positions: int) -> int:
    """Bytes of an engine that answers prompts: its own layout of the weights, and the cache of
    every row and of a slot to move them by. sizes: of any network that counts its cache.
    """
    return NUMBER * (sizes.parameters + (rows + 1) * sizes.count_cache(positions))


def count_block(work: Work, *, on_cpu: bool) -> float:
    """Bytes a token that a block keeps for its backward pass. D width, H and K heads of queries and
    of keys, d head width, M width of the MLP, b bytes of a number in a product, s of the residual
    stream:

    norms' inputs s·D, what they divide by 4, on a CPU what they divided s·D, their results b·D;
    turned queries and keys b·(H+K)d, what they and values were cut from b·(H+2K)d (by a CPU's
    kernel the values alone, b·K·d), softmax' normaliser 4H, what was read b·H·d; of a gated MLP
    b·4M: gate and up, silu of the gate, their product.
    """
    c, b, t = work.sizes, work.width, work.layout.tensor
    inputs = 1 if c.residual != "in turn" else 2
    results = 1 if c.residual == "parallel, one norm" else 2
    norm = _norm(c.norm, work.stream * c.width, on_cpu)
    # Both products read the result of a norm; where it is rounded, each a copy of its own.
    read_twice = 2 if b < NUMBER else results
    norms = (inputs * work.stream + read_twice * b) * c.width + results * norm
    if c.norm_places == "around":
        norms += 2 * ((NUMBER if on_cpu else b) * c.width + norm)  # a CPU widens what comes in
    read = b * c.heads * c.head_width
    turned = b * (c.heads + c.kv_heads) * c.head_width
    by_kernel = on_cpu and load_kernel() is not None
    cut = b * (c.kv_heads if by_kernel else c.heads + 2 * c.kv_heads) * c.head_width
    attention = turned + cut + NUMBER * c.heads + read
    if c.qk_norm:
        attention += turned * on_cpu + NUMBER * (c.heads + c.kv_heads)
    return norms + (attention + _mlp(work)) / t


def _norm(kind: NormKind, size: int, on_cpu: bool) -> int:
    """What a norm keeps besides its input, in bytes a token. size: of that input."""
    if kind == "layer":
        return 2 * NUMBER
    return NUMBER + size * on_cpu  # the fused kernel of a GPU divides again


def _mlp(work: Work) -> float:
    """In the mean over layers, of which some may have experts."""
    c, b = work.sizes, work.width
    plain = b * (4 if c.gated else 2) * c.mlp_width
    if c.experts is None:
        return plain
    own = c.experts.used * b * (4 * c.experts.width + 2 * c.width) + NUMBER * c.experts.number
    mixed = sum(map(c.has_experts, range(c.layers))) / c.layers
    return mixed * own + (1 - mixed) * plain


def _weights(work: Work) -> Term:
    return Term("weights", NUMBER * work.held, "4·(O + B/tensor)/shards")


def _gradients(work: Work) -> Term:
    return Term("gradients", NUMBER * work.held, "4·(O + B/tensor)/shards")


def _moments(work: Work) -> Term:
    formula = "8·(O + B/tensor)/shards"
    if work.optimizer == "muon":
        formula = "8·O + 4·B"
    return Term("moments", NUMBER * count_moments(work), formula)


def _before(work: Work) -> list[Term]:
    """The gradients of the micro-batches before the last one."""
    return [_gradients(work)] if work.pieces > 1 else []


def _first_gradients(work: Work) -> list[Term]:
    """Those that are there when the way back enters the blocks: the head's, which is whole until
    the way back has ended, and those of the micro-batches before.
    """
    if work.pieces == 1 or work.layout.divides:
        return [*_before(work), _head_gradient(work)]
    return [_gradients(work)]


def _last_gradients(work: Work) -> list[Term]:
    """Those that are there when the way back enters the first block: of one micro-batch all but its
    own, and where the network is divided those of embeddings and head, which are whole.
    """
    if not work.layout.divides:
        own = work.largest_block if work.pieces == 1 else 0
        return [Term("gradients", NUMBER * (work.held - own), "4·(O + B)")]
    return [_part_gradients(work, work.largest_block), _head_gradient(work)]


def _part_gradients(work: Work, last: int) -> Term:
    """last: numbers of the block that is on its way. Of one micro-batch neither its sum nor that of
    embeddings and head is there yet.
    """
    numbers = work.held
    if work.pieces == 1:
        numbers -= (work.outside + last) // work.layout.shards
    return Term("gradients", NUMBER * numbers, "4·(O + B/tensor)/shards")


def _head_gradient(work: Work) -> Term:
    size = NUMBER * work.sizes.vocab_size * work.sizes.width
    return Term("the head's gradient, whole", size, "4·V·D")


def _ending(work: Work) -> list[Term]:
    """Where the network is divided: the gradients of embeddings and head, whole, beside their
    weights or, when these are given up, beside what is scattered of them; one that is both has two
    gradients for a moment. The first block's are on their way yet.
    """
    copies = 3 if work.sizes.tied else 2
    return [
        _part_gradients(work, 0),
        Term(
            "embeddings' and head's gradients, whole", copies * NUMBER * work.outside,
            f"{copies * NUMBER}·O",
        ),
        Term("a block on its way", NUMBER * work.largest_block, "4·B/(L·tensor)"),
    ]  # fmt: skip


def _kept(work: Work, on_cpu: bool) -> Term:
    """Activations between forward and backward: of every layer what its block keeps, or with
    gradient checkpointing what it reads; and of the norm after them.
    """
    c, n = work.sizes, work.piece_tokens
    # Between blocks the residual stream is in float32.
    last = (NUMBER + work.width) * c.width + _norm(c.norm, NUMBER * c.width, on_cpu)
    if work.layout.gradient_checkpointing:
        return Term("activations", n * (c.layers * NUMBER * c.width + last), "n·L·4D")
    block = count_block(work, on_cpu=on_cpu)
    return Term("activations", n * (c.layers * block + last), "n·L·a")


def _rounded(work: Work) -> list[Term]:
    """The blocks' matrices in bfloat16, which autocast makes once a forward pass and keeps until
    its end.
    """
    if work.precision == "fp32" or (work.layout.half and work.layout.divides):
        return []
    return [Term("weights in bf16", 2 * work.tensors.matrices / work.layout.tensor, "2·B/tensor")]


def _again(work: Work, on_cpu: bool) -> list[Term]:
    """One block's activations at a time, where they are computed again."""
    if not work.layout.gradient_checkpointing:
        return []
    size = work.piece_tokens * count_block(work, on_cpu=on_cpu)
    return [Term("one block again", size, "n·a")]


def _loss(work: Work, on_cpu: bool) -> list[Term]:
    """On the way back the logits of a chunk and their gradient in the product's precision, the
    first chunks' probabilities where they were kept, the head's gradient in float32 and the product
    that is added to it: more than on the way there. And the head in the product's precision.
    """
    c, b = work.sizes, work.width
    rows = max(FEWEST, CHUNK // c.vocab_size) if on_cpu else CHUNK_ROWS
    rows = min(rows, CHUNK_ROWS, work.piece_tokens)
    kept = min(work.piece_tokens, KEPT // (rows * c.vocab_size) * rows)
    one, head = NUMBER * (rows + kept) * c.vocab_size, c.vocab_size * c.width
    rounded = b * rows * c.vocab_size if b < NUMBER else 0
    backward = Term(
        "logits and the head's gradient",
        one + rounded + (NUMBER + b) * head + b * work.piece_tokens * c.width,
        f"{4 + (b if rounded else 0)}·{rows}·V + {4 + b}·V·D + {b}·n·D"
        + (f" + 4·{kept}·V" if kept else ""),
    )
    if b == NUMBER:
        return [backward]
    return [backward, Term("the head in bf16", b * head, "2·V·D")]


def _outside(work: Work) -> list[Term]:
    """Weights that are whole from the beginning of the forward to the end of the backward pass."""
    if not work.layout.divides:
        return []
    return [Term("embeddings and head, gathered", NUMBER * work.outside, "4·O")]


def _gathered(work: Work) -> list[Term]:
    """Of the block on its way back the weights and gradients, of the next one the weights."""
    if not work.layout.divides:
        return []
    width = 2 * work.gathered + NUMBER
    return [Term("blocks on their way", width * work.largest_block, f"{width}·B/(L·tensor)")]


def _passing(work: Work) -> Term:
    size = count_passing(work.sizes, work.piece_tokens) / work.layout.tensor
    return Term(
        "passing through a block", size, "16·n·M/tensor" if work.sizes.gated else "8·n·M/tensor"
    )


def _stepping(work: Work) -> Term:
    """While gradients are summed their bucket is copied; parts step one by one, and AdamW has two
    tensors of the largest's size.
    """
    if work.layout.divides:
        alone = max(work.count_padded([shape]) for shape in work.tensors.outside)
        inside = max(
            work.count_padded([shape], work.layout.tensor)
            for block, _ in work.tensors.blocks for shape in block
        )  # fmt: skip
        largest = max(alone, inside) // work.layout.shards
        return Term("the optimizer's step", 2 * NUMBER * largest, "8·(largest tensor)/shards")
    largest = max(map(math.prod, work.tensors.every))
    copies = NUMBER * largest if work.layout.ranks > 1 else 0
    return Term("the optimizer's step", copies, "4·V·D" if copies else "in place")


def _engine(work: Work) -> list[Term]:
    """What answers prompts, and the weights that it reads where they are divided."""
    size = count_engine(work.sizes, work.slots, work.positions)
    formula = "4·(P + (slots+1)·2·L·K·d·positions)"
    terms = [Term("engine and its KV cache", size, formula)]
    if not work.layout.divides:
        return terms
    return [Term("weights, gathered", NUMBER * work.sizes.parameters, "4·P"), *terms]
