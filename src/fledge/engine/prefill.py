"""Prefill: many prompts into the KV cache in few passes, those of like length together, so that
little is padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

PREFILL_TOKENS = 8192  # tokens prefilled in one pass, padding included


def batch_prompts(lengths: Sequence[int], tokens: int = PREFILL_TOKENS) -> list[list[int]]:
    """Numbers of rows to prefill together: of like length, and no more than `tokens` at a time."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        batch = batches[-1] if batches else []
        fits = batch and (len(batch) + 1) * lengths[batch[0]] <= tokens
        if fits and lengths[i] >= 0.7 * lengths[batch[0]] - 8:
            batch.append(i)
        else:
            batches.append([i])
    return batches


def prefill(
    network: Any,
    cache: Any,
    rows: Sequence[Sequence[int]],
    starts: Sequence[int],
    slots: Sequence[int],
    device: torch.device,
) -> Iterator[tuple[list[int], Tensor]]:
    """Read rows[i][starts[i]:] into slot slots[i], which holds what comes before.

    network: a form for generation. Yields after each pass the numbers i of the rows that were read
    in it, and their hidden states [b, t, D], padded on the right.
    """
    rest = [list(row[start:]) for row, start in zip(rows, starts, strict=True)]
    for batch in batch_prompts([len(row) for row in rest]):
        longest = max(len(rest[i]) for i in batch)
        padded = [rest[i] + [0] * (longest - len(rest[i])) for i in batch]
        yield (
            batch,
            network.extend(
                torch.tensor(padded, device=device),
                torch.tensor([starts[i] for i in batch], device=device),
                torch.tensor([slots[i] for i in batch], device=device),
                max(len(rows[i]) for i in batch),
                cache,
            ),
        )


def take_last(hidden: Tensor, lengths: Sequence[int]) -> Tensor:
    """The hidden state of each row's last token.  [b, t, D] -> [b, D]"""
    ends = torch.tensor(lengths, device=hidden.device) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), ends]
