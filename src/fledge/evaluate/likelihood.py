"""How well a model foretells held-out text, conversations and documents: nats per token, and bits
per byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fledge.errors import UserError
from fledge.evaluate.judge import Figures, Judge
from fledge.micro_batches import READ, cut_in_order
from fledge.policy import TokenPolicy
from fledge.sample.conversations import token_rows
from fledge.sample.documents import text_rows
from fledge.splits import HELD_OUT, HeldOut, Split
from fledge.text.backward import turn_around
from fledge.text.documents import AnyDocument
from fledge.text.encoding import encode_documents
from fledge.text.held_out import sort_by_length
from fledge.text.packed import TokenRow
from fledge.text.shards import TokenStream
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import Trajectories


@dataclass(frozen=True)
class Likelihood:
    """Of all chosen tokens together. bytes: UTF-8 bytes of the text they are of; 0 unless they were
    counted.
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes


@torch.no_grad()
def measure_likelihood(
    policy: TokenPolicy, batches: Iterable[Trajectories], tokenizer: Tokenizer | None = None
) -> Likelihood:
    """Summed over batches in float64. tokenizer: counts the bytes of all actions."""
    device = policy.network.unembedding.device
    nats, tokens, size = 0.0, 0, 0
    for batch in batches:
        rows = batch.to(device)
        nats -= float(policy.log_prob(rows.obs, rows.action, rows.chosen).double().sum())
        tokens += int(rows.chosen.sum())
        if tokenizer is not None:
            size += int(tokenizer.bytes_per_token(rows.obs.cpu().numpy())[:, 1:].sum())
    return Likelihood(nats, tokens, size)


def measure_conversation_loss(
    policy: TokenPolicy, rows: Sequence[TokenRow], at_a_time: int = READ
) -> float:
    """Mean nats per trained token over held-out rows, so many tokens at a time. Raises UserError
    where there is none: 0 would be a perfect score.
    """
    ordered = sort_by_length(rows)
    steps = (len(tokens) for tokens, _ in ordered)
    pieces = (ordered[part] for part in cut_in_order(steps, at_a_time))
    measured = measure_likelihood(policy, map(token_rows, pieces))
    if not measured.tokens:
        raise UserError(
            f"none of the {len(rows)} held-out rows has a token that is trained: there is nothing "
            "to measure."
        )
    return measured.nats_per_token


def judge_conversations(
    policy: TokenPolicy, held_out: Mapping[HeldOut, Sequence[TokenRow]]
) -> Judge:
    """By the loss over each part's rows."""

    def read(part: HeldOut, step: int) -> Figures:
        return {"loss": measure_conversation_loss(policy, held_out[part])}

    items: dict[HeldOut, int] = {part: len(rows) for part, rows in held_out.items()}
    return Judge(
        read, "loss", lower_is_better=True, items=items, what="row", prefix="validation_"
    )  # fmt: skip


def spread_windows(stream: TokenStream, context: int, rows: int) -> list[int]:
    """Where the windows begin that an evaluation reads: `rows` of them evenly apart, or all if
    there are fewer; a short text is one.

    Evenly, for a corpus is in the order of its files: its first windows alone would say how well
    the first files are told.
    """
    whole = max(1, (len(stream) - 1) // context)
    number = min(rows, whole)
    return [i * whole // number * context for i in range(number)]


def read_windows(
    stream: TokenStream, context: int, rows: int, begin: int | None
) -> Iterator[Trajectories]:
    """Those windows, some at a time. Raises UserError for a text without a token to foretell."""
    context = min(context, len(stream) - 1)
    if context < 1:
        raise UserError(f"the held-out text has {len(stream)} tokens: give more text.")
    starts = spread_windows(stream, context, rows)
    for part in cut_in_order([context] * len(starts)):
        windows = [stream[start : start + context + 1] for start in starts[part]]
        yield text_rows(torch.stack([torch.from_numpy(window) for window in windows]), begin)


def measure_held_out_loss(
    policy: TokenPolicy, stream: TokenStream, tokenizer: Tokenizer, context: int, rows: int
) -> tuple[float, float]:
    """Mean nats per token and bits per UTF-8 byte over `rows` windows of a stream (all if there are
    fewer).
    """
    windows = read_windows(stream, context, rows, tokenizer.begin)
    measured = measure_likelihood(policy, windows, tokenizer)
    if not measured.tokens or not measured.bytes:
        raise UserError("the held-out text has no token to foretell, or no byte: give more text.")
    return measured.nats_per_token, measured.bits_per_byte


def judge_text(
    policy: TokenPolicy,
    text: Mapping[Split, TokenStream],
    tokenizer: Tokenizer,
    context: int,
    rows: int,
    keep_samples: Callable[[int], None] = lambda step: None,
) -> Judge:
    """By bits per byte on `rows` windows of each part. keep_samples: called with the step of each
    evaluation.
    """

    def read(part: HeldOut, step: int) -> Figures:
        if part == "validation":
            keep_samples(step)
        loss, bits = measure_held_out_loss(policy, text[part], tokenizer, context, rows)
        return {"loss": loss, "bits_per_byte": bits}

    items: dict[HeldOut, int] = {
        part: len(spread_windows(text[part], context, rows)) for part in HELD_OUT
    }
    return Judge(
        read, "bits_per_byte", "loss", lower_is_better=True, items=items, what="window",
        prefix="validation_",
    )  # fmt: skip


def read_documents(
    documents: Iterable[AnyDocument],
    tokenizer: Tokenizer,
    context: int,
    at_a_time: int = READ,
    tokens_waiting: int = 2**20,
    *,
    backward: bool = False,
) -> Iterator[Trajectories]:
    """Every token of every document once, each document in windows of the context; `backward`
    each window from its end, which tells the token that it shares with the one before.

    Windows of the same length wait for each other until they have `at_a_time` tokens together, or
    there are more than `tokens_waiting` in all.
    """
    windows: dict[int, list[np.ndarray]] = {}
    waiting = 0

    def stack(rows: list[np.ndarray]) -> Trajectories:
        return text_rows(torch.from_numpy(np.stack(rows)), tokenizer.begin)

    for window in cut_windows(documents, tokenizer, context):
        window = turn_around(window, tokenizer) if backward else window
        same_length = windows.setdefault(len(window), [])
        same_length.append(window.copy())  # not a view, which would keep its whole batch
        waiting += len(window)
        if (len(same_length) + 1) * (len(window) - 1) > at_a_time:
            yield stack(windows.pop(len(window)))
            waiting -= len(window) * len(same_length)
        if waiting > tokens_waiting:
            yield from map(stack, windows.values())
            windows, waiting = {}, 0
    yield from map(stack, windows.values())


def cut_windows(
    documents: Iterable[AnyDocument], tokenizer: Tokenizer, context: int
) -> Iterator[np.ndarray]:
    """Each document's tokens with its ends, in windows of context + 1, of which the last token
    opens the next window.
    """
    row = np.zeros(0, dtype=np.int64)
    opening = tokenizer.opening[0]
    # Where one token closes a document and opens the next, it belongs to both.
    shared = tokenizer.end is not None and not tokenizer.closing
    end = np.array([tokenizer.end] if shared else [], dtype=np.int64)

    def cut(row: np.ndarray) -> Iterator[np.ndarray]:
        while len(row) > context + 1:
            yield row[: context + 1]
            row = row[context:]
        yield row

    for _, ids, _ in encode_documents(((None, document) for document in documents), tokenizer):
        for part in np.split(ids, np.flatnonzero(ids == opening)):
            # what is left of the document before is its end
            if len(part) and part[0] == opening:
                yield from (each for each in cut(np.concatenate([row, end])) if len(each) > 1)
                row = part
            else:
                row = np.concatenate([row, part])
            *whole, row = cut(row)
            yield from whole
    yield from (each for each in cut(np.concatenate([row, end])) if len(each) > 1)
