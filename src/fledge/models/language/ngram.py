"""An n-gram model: of every n-gram a log-probability, and what is left for all others where it is
the beginning (Katz 1987, in whose form every smoothing method can be written).

Sorted arrays, as the counts are: 16 bytes an n-gram, 12 of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fledge.text.ngram_counts import WORD, WORD_BITS, Ints, follow, list_openings, spread, walk

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Order:
    """The n-grams of one length, two or more. keys: as in `Grams` [N]. logp: log p(last token |
    those before), nats [N]. backoff: log of what a longer context that begins like this leaves to
    shorter ones [N]; empty for the longest.
    """

    keys: Ints
    logp: Floats
    backoff: Floats


@dataclass(frozen=True)
class Ngram:
    """logp, backoff: of single tokens [V]; −inf for one that is never said.

    additive: what a context leaves is divided among all other tokens equally, and no shorter
    context is asked, unless this one was never seen (its backoff is NaN): add-k smoothing.
    """

    logp: Floats
    backoff: Floats
    longer: tuple[Order, ...]
    border: int | None
    additive: bool = False

    @property
    def order(self) -> int:
        return len(self.longer) + 1

    @property
    def vocab_size(self) -> int:
        return len(self.logp)

    @property
    def tables(self) -> list[Ints]:
        return [order.keys for order in self.longer]

    def count_bytes(self) -> int:
        arrays = [self.logp, self.backoff]
        arrays += [a for o in self.longer for a in (o.keys, o.logp, o.backoff)]
        return sum(array.nbytes for array in arrays)

    def log_prob(self, tokens: Ints) -> Floats:
        """log p(t_i | the tokens before it) of one text, nats. A border begins anew.  [T] -> [T]"""
        said, numbers = self.logp[tokens], tokens
        opened = list_openings(tokens, self.border)
        for k, order in enumerate(self.longer if len(tokens) else ()):
            ends, contexts, own = follow(order.keys, tokens, numbers, opened)
            left = self._backoff(k)[contexts]
            shorter = said[ends]
            now = np.where(np.isnan(left), shorter, left) if self.additive else shorter + left
            there = np.flatnonzero(own >= 0)
            now[there] = order.logp[own[there]]
            said[ends] = now
            if k + 1 < len(self.longer):
                numbers = spread(ends, own, len(tokens))
        return said

    def distribution(self, contexts: Sequence[Ints]) -> Floats:
        """log p(· | what stands before), nats.  N texts -> [N, V]"""
        reach = self.order - 1
        numbers = np.full((len(contexts), reach), -1, np.int64)
        for row, tokens in enumerate(contexts):
            if len(tokens) and reach:
                known = walk(tokens[-reach:], self.tables[:-1], self.border)[:reach]
                numbers[row] = [number[-1] for number in known]
        return self.look_up(numbers)

    def look_up(self, contexts: Ints) -> Floats:
        """log p(·), nats, after contexts by their numbers, one for each length from one token on,
        −1 for one that was never seen.  [N, order − 1] -> [N, V]
        """
        p = np.repeat(np.exp(self.logp)[None], len(contexts), 0)
        said = np.isfinite(self.logp)
        for k, order in enumerate(self.longer):
            number = contexts[:, k]
            left = np.exp(self._left(k, number))
            if self.additive:
                known = ~np.isnan(left)
                p[known] = np.where(said, left[known, None], 0.0)
            else:
                p *= left[:, None]
            rows = np.flatnonzero(number >= 0)
            begins = np.searchsorted(order.keys, number[rows] << WORD_BITS)
            ends = np.searchsorted(order.keys, (number[rows] + 1) << WORD_BITS)
            for row, begin, end in zip(rows, begins, ends, strict=True):
                p[row, order.keys[begin:end] & WORD] = np.exp(order.logp[begin:end])
        with np.errstate(divide="ignore"):
            return np.log(p)

    def _backoff(self, k: int) -> Floats:
        """Of contexts of k + 1 tokens."""
        return self.backoff if k == 0 else self.longer[k - 1].backoff

    def _left(self, k: int, context: Ints) -> Floats:
        """log of what contexts of k + 1 tokens leave; of one that was never seen, all of it."""
        left = np.full(len(context), np.nan if self.additive else 0.0, np.float32)
        seen = np.flatnonzero(context >= 0)
        left[seen] = self._backoff(k)[context[seen]]
        return left
