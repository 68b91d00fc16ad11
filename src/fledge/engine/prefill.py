"""Which prompts are prefilled in one pass: those of like length, so that little is padding."""

from __future__ import annotations

from collections.abc import Sequence

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
