"""Rows of unequal length laid end to end, so that nothing is computed of padding: products see all
tokens as one matrix, attention sees the rows of one length as one block without a mask.

Rows of like length in one padded block are no faster: 32 rows of 6 to 46 tokens through 6 layers of
width 384, forward and backward, 1.3 s as here and padded to multiples of 4, 2.7 s padded to the
longest (29 November 2026, one thread of an AMD EPYC, others at work beside it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.models.language.near_attention import attend_near
from fledge.models.language.short_attention import is_faster, short_attention

# Windows in a row from which on blocks of them are faster than a mask over all of it: with 64 to
# either side 44 ms for 147 at 512 tokens, and 74 for 35 at 384 (the same day and machine).
LONG = 8


@dataclass(frozen=True)
class LaidRows:
    """How N tokens lie. order: where each stood before rows of one length were put beside each
    other, [N] long, None where they stood so. blocks: (rows, length) of each length, as they lie.
    positions: of each token in its row, [N] long.
    """

    order: Tensor | None
    blocks: tuple[tuple[int, int], ...]
    positions: Tensor
    starts: Tensor  # of each row as it was given, where its first token lies now  [B]

    def arrange(self, given: Tensor) -> Tensor:
        """[N, …] as it was given -> as it lies."""
        return given if self.order is None else given[self.order]

    def put_back(self, laid: Tensor) -> Tensor:
        """[N, …] as it lies -> as it was given."""
        if self.order is None:
            return laid
        return laid[torch.empty_like(self.order).scatter_(0, self.order, _count_up(self.order))]

    def attend(self, qkv: Tensor, window: int = 0) -> Tensor:
        """softmax(Q Kᵀ / √d) V within each row (Vaswani et al. 2017, eq. 1).  [N, 3, heads, d] ->
        [N, heads, d]

        window: how far to either side a token looks; 0: at its whole row.
        """
        read, begin = [], 0
        for rows, length in self.blocks:
            end = begin + rows * length
            block = qkv[begin:end].view(rows, length, *qkv.shape[1:])
            q, k, v = (part.transpose(1, 2) for part in block.unbind(2))  # [rows, heads, T, d]
            if window and length >= LONG * window:
                block = attend_near(q, k, v, window)
            else:
                mask = _see_near(length, window, qkv.device) if 0 < window < length - 1 else None
                block = _attend_block(q, k, v, mask)
            read.append(block.transpose(1, 2).flatten(0, 1))
            begin = end
        return torch.cat(read) if len(read) != 1 else read[0]

    def attend_first(self, qkv: Tensor, window: int = 0) -> Tensor:
        """What `attend` says of the first token of each row, in the order of the rows as they were
        given.  [N, 3, heads, d] -> [B, heads, d]
        """
        read, begin = [], 0
        for rows, length in self.blocks:
            end = begin + rows * length
            seen = min(length, window + 1) if window else length
            block = qkv[begin:end].view(rows, length, *qkv.shape[1:])
            q = block[:, :1, 0].transpose(1, 2)  # [rows, heads, 1, d]
            k, v = (block[:, :seen, part].transpose(1, 2) for part in (1, 2))
            read.append(F.scaled_dot_product_attention(q, k, v)[:, :, 0])
            begin = end
        return torch.cat(read)[self.starts.argsort().argsort()]


def lay_rows(sizes: Sequence[int], device: torch.device) -> LaidRows:
    """Rows of these lengths, of which none is 0, end to end."""
    lengths = torch.tensor(sizes, dtype=torch.long)
    by_length = lengths.argsort(stable=True)
    begins = lengths.cumsum(0) - lengths
    sorted_lengths = lengths[by_length]
    positions = torch.arange(int(lengths.sum())) - (
        sorted_lengths.cumsum(0) - sorted_lengths
    ).repeat_interleave(sorted_lengths)
    order = begins[by_length].repeat_interleave(sorted_lengths) + positions
    same = bool((by_length == torch.arange(len(lengths))).all())
    alike, counts = sorted_lengths.unique_consecutive(return_counts=True)
    blocks = tuple(zip(counts.tolist(), alike.tolist(), strict=True))
    starts = torch.empty_like(begins)
    starts[by_length] = sorted_lengths.cumsum(0) - sorted_lengths
    return LaidRows(
        None if same else order.to(device), blocks, positions.to(device), starts.to(device)
    )


def _count_up(like: Tensor) -> Tensor:
    return torch.arange(len(like), device=like.device)


def _see_near(length: int, window: int, device: torch.device) -> Tensor:
    """True where one token is no farther from the other than the window.  -> [1, 1, T, T] bool"""
    place = torch.arange(length, device=device)
    return ((place[:, None] - place).abs() <= window)[None, None]


def _attend_block(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """[rows, heads, T, d] three times -> the same"""
    attend: Callable[..., Tensor] = F.scaled_dot_product_attention
    if not is_faster(q, k, v):
        return attend(q, k, v, attn_mask=mask)
    if mask is None:
        t = q.shape[2]
        mask = torch.ones(1, 1, t, t, dtype=torch.bool, device=q.device)
    return short_attention(q, k, v, mask)
