"""How well an encoder foretells masked tokens of held-out text. Nats a masked token are no bits per
byte: the tokens around it are given, before and behind, so that no text is told by them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from fledge.algorithms.likelihood.masked import masked_nll, next_nll, read_rows
from fledge.errors import Diverged, UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.evaluate.likelihood import cut_windows, spread_windows
from fledge.micro_batches import gather_rows
from fledge.models.language.encoder import Encoder
from fledge.sample.masked_rows import (
    MaskedPairs,
    MaskedRows,
    frame_window,
    generator_of,
    join_rows,
    mask_one,
)
from fledge.seeds import seed_for
from fledge.splits import HELD_OUT, HeldOut, Split
from fledge.text.documents import AnyDocument
from fledge.text.frames import Frame
from fledge.text.masking import Ints, Masking
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer

SEED = 0  # of what is masked: the same for every model that is measured


@torch.no_grad()
def measure_masked(network: Encoder, rows: Iterable[MaskedRows]) -> Figures:
    """masked_nats: a masked token; masked_accuracy: of them; next_accuracy: of pairs. Raises
    UserError where nothing is masked, Diverged where no number comes out.
    """
    device = network.unembedding.device
    nats, right, count, next_right, asked = 0.0, 0, 0, 0, 0
    for some in gather_rows(rows, count_tokens):
        batch = join_rows(some).to(device)
        hidden = read_rows(network, batch, batch.tokens)
        said, hits = masked_nll(network, hidden, batch)
        nats += float(said.double().sum())
        right += int(hits.sum())
        count += len(said)
        if network.config.next and bool((batch.another >= 0).any()):
            said, hits = next_nll(network, hidden, batch)
            next_right += int(hits.sum())
            asked += len(said)
    if not count:
        raise UserError("the text to measure on has no token that could be masked: give more.")
    _check(nats)
    figures = {"masked_nats": nats / count, "masked_accuracy": right / count}
    return figures | ({"next_accuracy": next_right / asked} if asked else {})


@torch.no_grad()
def measure_replaced(network: Encoder, rows: Iterable[MaskedRows]) -> Figures:
    """Of rows whose `tokens` are others than their `target` here and there: replaced_nats, a token;
    replaced_accuracy: of all.
    """
    device = network.unembedding.device
    nats, right, count = 0.0, 0, 0
    for some in gather_rows(rows, count_tokens):
        batch = join_rows(some).to(device)
        inside = torch.arange(batch.tokens.shape[1], device=device) < batch.size[:, None]
        said = network.replaced_logits(read_rows(network, batch, batch.tokens)[inside]).double()
        replaced = (batch.tokens != batch.target)[inside]
        nats += float(
            F.binary_cross_entropy_with_logits(said, replaced.double(), reduction="sum")
        )  # fmt: skip
        right += int(((said > 0) == replaced).sum())
        count += len(said)
    if not count:
        raise UserError("the text to measure on is empty: give more text.")
    _check(nats)
    return {"replaced_nats": nats / count, "replaced_accuracy": right / count}


def _check(nats: float) -> None:
    if not math.isfinite(nats):
        raise Diverged(
            f"the encoder gives the text {nats} nats, which is no number: its weights overflow, or "
            "hold values that are none. Use a run from before that."
        )


def count_tokens(row: MaskedRows) -> int:
    return int(row.size.sum())


def judge_masked(
    network: Encoder,
    text: Mapping[Split, TokenStream],
    frame: Frame,
    masking: Masking,
    context: int,
    rows: int,
    keep_samples: Callable[[int], None] = lambda step: None,
) -> Judge:
    """On `rows` windows of each part, or pairs, always masked alike. Raises UserError where a part
    has no pairs and pairs are asked for.
    """
    c = network.config
    pairs = {
        part: MaskedPairs(
            text[part], frame, masking, rows_per_step=1, context=context, seed=SEED
        ) for part in HELD_OUT
    } if c.next else {}  # fmt: skip

    def read(part: HeldOut, step: int) -> Figures:
        if part == "validation":
            keep_samples(step)
        if c.replaced:
            return measure_replaced(
                network, replace_windows(read_held_out(text[part], frame, context, rows), masking)
            )
        if c.next:
            return measure_masked(network, map(pairs[part].read, range(rows)))
        return measure_masked(
            network, mask_windows(read_held_out(text[part], frame, context, rows), masking)
        )

    items: dict[HeldOut, int] = {
        part: rows if c.next else len(spread_windows(text[part], context, rows))
        for part in HELD_OUT
    }
    return Judge(
        read, "replaced_nats" if c.replaced else "masked_nats", lower_is_better=True, items=items,
        what="pair" if c.next else "window", prefix="validation_",
    )  # fmt: skip


def read_held_out(stream: TokenStream, frame: Frame, context: int, rows: int) -> Iterator[Ints]:
    """Windows evenly apart, opened and closed."""
    context = min(context, len(stream))
    for start in spread_windows(stream, context, rows):
        yield frame_window(stream[start : start + context], frame)


def read_documents(
    documents: Iterable[AnyDocument], tokenizer: Tokenizer, frame: Frame, context: int
) -> Iterator[Ints]:
    """Every document in windows of the context, opened and closed: what stands at either end of a
    window is in the window beside.
    """
    for window in cut_windows(documents, tokenizer, context - 1):
        if len(window) > frame.count():
            yield frame_window(window, frame)


def mask_windows(windows: Iterable[Ints], masking: Masking) -> Iterator[MaskedRows]:
    draw = partial(generator_of, seed_for(SEED, "evaluation", "masks"))
    for number, window in enumerate(windows):
        row = mask_one(np.asarray(window), masking, draw(number))
        if bool(row.chosen.any()):
            yield row


def replace_windows(windows: Iterable[Ints], masking: Masking) -> Iterator[MaskedRows]:
    draw = partial(generator_of, seed_for(SEED, "evaluation", "replaced"))
    for number, window in enumerate(windows):
        random = draw(number)
        row = mask_one(np.asarray(window), masking, random)
        replaced = masking.replace_row(np.asarray(window), random)
        yield row.replace(tokens=torch.from_numpy(replaced)[None])
