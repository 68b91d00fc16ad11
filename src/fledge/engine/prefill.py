"""Prefill: many prompts into the KV cache in few passes, those of like length together, so that
little is padding, or of any where none is; a long one alone and in pieces, so that memory does not
grow with its square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

PREFILL_TOKENS = 8192  # tokens prefilled in one pass, padding included
PIECE = 1024  # tokens of a long prompt that are prefilled in one pass
SCORES = 2**24  # of attention, a head, in one pass: tokens that look × tokens that they may look at


def choose_piece(network: Any, length: int) -> int:
    """How many tokens of a prompt of this length are prefilled in one pass: fewer, the more there
    are to look at. A form that keeps no keys reads all of a row in every pass, and pieces would
    save it nothing.
    """
    return min(PIECE, max(64, SCORES // length)) if network.incremental else length


def pack_prompts(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of rows to prefill together without padding, in their order: no more than PIECE
    tokens, whose hidden states the second cache of a processor holds.
    """
    batches: list[list[int]] = [[]]
    tokens = 0
    for i, length in enumerate(lengths):
        if tokens and tokens + length > PIECE:
            batches.append([])
            tokens = 0
        batches[-1].append(i)
        tokens += length
    return batches if lengths else []


def batch_prompts(lengths: Sequence[int], wholes: Sequence[int]) -> list[list[int]]:
    """Numbers of rows to prefill together with padding: of like length, and no more than
    PREFILL_TOKENS and SCORES at a time.

    lengths: tokens to prefill. wholes: with those that are held already.
    """
    batches: list[list[int]] = []
    seen = 0
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        batch = batches[-1] if batches else []
        seen = max(seen, wholes[i]) if batch else wholes[i]
        tokens = (len(batch) + 1) * lengths[batch[0]] if batch else 0
        fits = batch and tokens <= PREFILL_TOKENS and tokens * seen <= SCORES
        if fits and lengths[i] >= 0.7 * lengths[batch[0]] - 8:
            batch.append(i)
        else:
            batches.append([i])
            seen = wholes[i]
    return batches


def prefill(
    network: Any,
    cache: Any,
    rows: Sequence[Sequence[int]],
    starts: Sequence[int],
    slots: Sequence[int],
    last: int = 1,
) -> Iterator[tuple[list[int], Tensor]]:
    """Read rows[i][starts[i]:] into slot slots[i], which holds what comes before.

    network: a form for generation. Yields, some rows at a time, their numbers i and the hidden
    states of their last tokens [b, last, D].
    """
    lengths = [len(row) - start for row, start in zip(rows, starts, strict=True)]
    sizes = [max(2 * last, choose_piece(network, len(row))) for row in rows]
    whole = [i for i, length in enumerate(lengths) if length <= sizes[i]]
    own = [lengths[i] for i in whole]
    packs = pack_prompts(own) if network.packs else None
    for some in packs or batch_prompts(own, [len(rows[i]) for i in whole]):
        batch = [whole[k] for k in some]
        pieces = [rows[i][starts[i] :] for i in batch]
        read = _extend(
            network, cache, pieces, [starts[i] for i in batch], [slots[i] for i in batch]
        )
        yield batch, _take_last(read, [lengths[i] for i in batch], last)
    for i in set(range(len(rows))).difference(whole):
        read = torch.empty(0)
        for begin, end in pairwise(_cut(starts[i], len(rows[i]), sizes[i])):
            read = _extend(network, cache, [rows[i][begin:end]], [begin], [slots[i]])
        yield [i], read[:, -last:]


def _cut(begin: int, end: int, size: int) -> list[int]:
    """Borders of pieces of like length, none longer than `size` and, with two or more, none shorter
    than half of it.
    """
    count = -(-(end - begin) // size)
    return [begin + (end - begin) * k // count for k in range(count + 1)]


def _extend(
    network: Any,
    cache: Any,
    pieces: Sequence[Sequence[int]],
    starts: Sequence[int],
    slots: Sequence[int],
) -> Tensor:
    """One pass.  -> [b, t, D], padded on the right"""
    device = network.device
    longest = max(map(len, pieces))
    padded = [[*piece] + [0] * (longest - len(piece)) for piece in pieces]
    return network.extend(
        torch.tensor(padded, device=device),
        torch.tensor(starts, device=device),
        torch.tensor(slots, device=device),
        [start + len(piece) for start, piece in zip(starts, pieces, strict=True)],
        cache,
    )


def _take_last(hidden: Tensor, lengths: Sequence[int], last: int) -> Tensor:
    """The hidden states of each row's last tokens.  [b, t, D] -> [b, last, D]"""
    ends = torch.tensor(lengths, device=hidden.device)
    places = ends[:, None] + torch.arange(-last, 0, device=hidden.device)
    return hidden[torch.arange(len(hidden), device=hidden.device)[:, None], places]
