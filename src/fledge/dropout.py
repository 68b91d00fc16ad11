"""Dropout whose mask is a function of seed, optimizer step, row, layer, position and unit: the same
however rows are divided over micro-batches and ranks, and whoever draws.

Srivastava et al. 2014, §4, scaled by 1/(1 − p) while training. The numbers are counted, not drawn
one after the other (Salmon et al. 2011): a hash of what they belong to. So a block that is computed
again for the backward pass has its mask again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor

STEP = 0x61C88647  # between the places of two tokens of a row


class _Rows:
    """Of which nothing is computed for a network that drops nothing."""

    def __init__(self, key: int, rows: Tensor) -> None:
        self.key, self.rows = key, rows

    @cached_property
    def marks(self) -> Tensor:
        """A number of each row in this step that looks like no other's.  -> [b] long"""
        return _mix(_mix(self.rows + self.key))


# Of the process, not of a thread: a backward pass that computes again may do so in another.
_now: _Rows | None = None


@contextmanager
def drop_by_row(key: int, rows: Tensor) -> Iterator[None]:
    """Until the block ends what is dropped is that of these rows of a batch, [b] long, in a step
    with this key, a number below 2^62.
    """
    global _now
    before, _now = _now, _Rows(key, rows)
    try:
        yield
    finally:
        _now = before


def drop(x: Tensor, p: float, layer: int) -> Tensor:
    """Each number is 0 with probability p, to 2⁻³² of it, else divided by 1 − p.  [b, T, I] or
    [b·T, I] -> the same

    layer: tells one from another. Outside `drop_by_row` the key is drawn from torch's own
    generator. Sequences of one row in one step, such as the two answers of a pair, share a mask.
    """
    now = _now
    if now is None:
        key = int(torch.randint(2**62, ()))
        now = _Rows(key, torch.arange(len(x), device=x.device))
    rows = x.reshape(len(now.marks), -1, x.shape[-1])
    steps = torch.arange(rows.shape[1], device=x.device)
    places = now.marks[:, None] + steps * STEP  # [b, steps]
    dropped = _hash_below(p, places, now.key, layer, rows.shape[2])
    return x.masked_fill(dropped.view(x.shape), 0.0) * (1 / (1 - p))


class TokenDropout:
    """The same of tokens of rows that lie end to end: row [N], which of a micro-batch's, and
    position [N] in it, of each. Whoever computes a part of a network again calls it again.
    """

    def __init__(self, p: float, row: Tensor, position: Tensor) -> None:
        now = _now
        if now is None:
            count = int(row.max()) + 1
            now = _Rows(int(torch.randint(2**62, ())), torch.arange(count, device=row.device))
        self.p, self.key = p, now.key
        self.places = now.marks[row] + position * STEP  # [N]

    def __call__(self, x: Tensor, layer: int, tokens: Tensor | None = None) -> Tensor:
        """tokens: those of all that are in x.  [N, I] -> the same"""
        places = self.places if tokens is None else self.places[tokens]
        dropped = _hash_below(self.p, places, self.key, layer, x.shape[-1])
        return x.masked_fill(dropped, 0.0) * (1 / (1 - self.p))


def _hash_below(p: float, places: Tensor, key: int, layer: int, width: int) -> Tensor:
    """True with probability p.  [...] -> [..., width] bool"""
    device = places.device
    units = _mix(_mix(torch.arange(width, device=device) + (key ^ layer << 28)))  # [width]
    # The end of MurmurHash3 (Appleby 2011), in place: passes over [..., width] are what this costs.
    x = places.to(torch.int32)[..., None] ^ units.to(torch.int32)
    x.mul_(-2048144789)
    x.bitwise_xor_(x >> 13)
    x.mul_(-1028477387)
    return x < min(round(p * 2**32), 2**32 - 1) - 2**31


def _mix(x: Tensor) -> Tensor:
    """A number of 64 bits that looks like no other's (Steele et al. 2014, splitmix64)."""
    x = x + -7046029254386353131
    x = (x ^ (x >> 30)) * -4658895280553007687
    x = (x ^ (x >> 27)) * -7723592293110705685
    return x ^ (x >> 31)
