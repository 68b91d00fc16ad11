"""How well an encoder–decoder foretells the targets that an objective makes of held-out text: nats
a token of a target, and no bits per byte, since an input tells of its target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.evaluate.likelihood import Likelihood, measure_likelihood
from fledge.micro_batches import gather_rows
from fledge.policy import TokenPolicy
from fledge.sample.conversations import token_rows
from fledge.sample.objective_rows import PairWriter, draw_for, read_held_out
from fledge.splits import HELD_OUT, HeldOut, Split
from fledge.text.documents import AnyDocument
from fledge.text.encoding import encode_documents
from fledge.text.shards import TokenStream
from fledge.trajectories import Trajectories


def judge_targets(
    policy: TokenPolicy,
    text: Mapping[Split, TokenStream],
    write: PairWriter,
    rows: int,
    keep_samples: Callable[[int], None] = lambda step: None,
) -> Judge:
    """By the targets of `rows` windows of each part, which are the same at every evaluation.
    keep_samples: called with the step of each.
    """

    def read(part: HeldOut, step: int) -> Figures:
        if part == "validation":
            keep_samples(step)
        measured = measure_likelihood(policy, read_held_out(text[part], write, rows))
        return {"loss": measured.nats_per_token}

    items: dict[HeldOut, int] = {
        part: min(rows, max(1, len(text[part]) // write.window)) for part in HELD_OUT
    }
    return Judge(
        read, "loss", lower_is_better=True, items=items, what="window", prefix="validation_"
    )  # fmt: skip


def measure_targets(
    policy: TokenPolicy, documents: Iterable[AnyDocument], write: PairWriter
) -> Likelihood:
    """Of every window of every document once, each with the same noise at every reading. Raises
    UserError for text without a target.
    """
    measured = measure_likelihood(policy, _read_documents(documents, write))
    if not measured.tokens:
        raise UserError("the text to measure on has no target: give more text, or whole=true.")
    return measured


def _read_documents(documents: Iterable[AnyDocument], write: PairWriter) -> Iterator[Trajectories]:
    windows = enumerate(_cut_windows(documents, write))
    rows = (write(window, draw_for(0, number)) for number, window in windows)
    yield from map(token_rows, gather_rows(rows, lambda row: len(row[0])))


def _cut_windows(documents: Iterable[AnyDocument], write: PairWriter) -> Iterator[np.ndarray]:
    """Each document's tokens, some at a time, of two tokens or more."""
    numbered = ((None, document) for document in documents)
    for _, ids, _ in encode_documents(numbered, write.tokenizer.inner):
        borders = np.flatnonzero(np.isin(ids, write.borders))
        for part in np.split(ids, borders):
            text = part[np.isin(part, write.borders, invert=True)]
            for begin in range(0, len(text), write.window):
                if len(window := text[begin : begin + write.window]) > 1:
                    yield window
