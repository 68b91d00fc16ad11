"""How well a model foretells each document, in windows that overlap: every token once, from at
least context − stride tokens before it, as far as its document has them.

With stride = context windows lie end to end, and the first token of each has nothing before it but
one: the perplexity is then too high by what a short past costs (Baevski & Auli 2019, §5.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fledge.evaluate.intervals import ratio_interval
from fledge.evaluate.likelihood import Likelihood
from fledge.evaluate.suites.beginnings import Row
from fledge.evaluate.suites.choosing import AT_A_TIME, measure_rows
from fledge.policy import TokenPolicy
from fledge.text.documents import AnyDocument
from fledge.text.encoding import encode_documents
from fledge.text.tokenizer import Tokenizer

WAITING = 2**18  # tokens of rows that wait for others of like length


@dataclass(frozen=True)
class MeasuredDocument(Likelihood):
    """source: where the document is from."""

    source: str


def measure_documents(
    policy: TokenPolicy,
    documents: Iterable[AnyDocument],
    tokenizer: Tokenizer,
    context: int,
    stride: int | None = None,
    at_a_time: int = AT_A_TIME,
) -> list[MeasuredDocument]:
    """Of each document with its end, in their order. stride: by default the context."""
    stride = stride or context
    measured: list[MeasuredDocument] = []
    rows: list[Row] = []
    waiting: list[tuple[str, int]] = []  # source, and number of rows

    def measure() -> None:
        nats, place = [each for each, _ in measure_rows(policy, rows, at_a_time)], 0
        for source, number in waiting:
            own = rows[place : place + number]
            size = sum(int(tokenizer.bytes_per_token(r.tokens)[r.start :].sum()) for r in own)
            tokens = sum(len(row.tokens) - row.start for row in own)
            total = sum(nats[place : place + number])
            measured.append(MeasuredDocument(-total, tokens, size, source))
            place += number
        rows.clear()
        waiting.clear()

    for document in documents:
        parts = [ids for _, ids, _ in encode_documents([(0, document)], tokenizer)]
        ids = np.concatenate(parts).tolist() if parts else [*tokenizer.opening]
        if tokenizer.end is not None and not tokenizer.closing:
            ids.append(tokenizer.end)  # it closes this document and opens the next
        windows = list(cut_overlapping(ids, context, stride))
        rows += windows
        waiting.append((document.source, len(windows)))
        if sum(len(row.tokens) for row in rows) > WAITING:
            measure()
    if waiting:
        measure()
    return measured


def cut_overlapping(ids: list[int], context: int, stride: int) -> Iterable[Row]:
    """Windows of context + 1 tokens at the most, each of which foretells `stride` new ones, the
    first as many as it holds, and the last those that are left, from as much before them.
    """
    told = 1  # the first token is foretold by nothing
    end = min(len(ids), context + 1)
    while told < end:
        begin = max(0, end - context - 1)
        yield Row(ids[begin:end], told - begin)
        told, end = end, min(len(ids), end + stride)


def bound_bits(documents: list[MeasuredDocument], seed: int = 0) -> tuple[float, float]:
    """Where the bits per byte lie, by the bootstrap over documents: tokens of one are not
    independent of each other.
    """
    bits = [document.nats / np.log(2) for document in documents]
    return ratio_interval(bits, [float(document.bytes) for document in documents], seed)
