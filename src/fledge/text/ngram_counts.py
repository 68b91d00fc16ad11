"""How often every run of up to n tokens stands in a text: sorted arrays, one for each length.

An n-gram is known by the number of its first n − 1 tokens among all of that length, and its last
token; so that whatever n is, it is one integer, and those that begin alike stand together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

WORD_BITS = 32
WORD = np.int64(2**WORD_BITS - 1)
RUN = 2**24  # n-grams that are sorted at a time, 128 MB
HELD = 2**22  # tokens of a text that is counted in memory, with all it takes some 200 MB
NONE = np.int64(-1)


@dataclass(frozen=True)
class Grams:
    """Those of one length, two or more. keys: number of the beginning << 32 | last token, in order;
    the place of a key is the number of its n-gram. counts: how often it stood in the text. suffix:
    the number of all but its first token, among those one shorter.  [N] each
    """

    keys: Ints
    counts: Ints
    suffix: Ints

    @property
    def begins(self) -> Ints:
        """The number of the first n − 1 tokens of each."""
        return self.keys >> WORD_BITS

    @property
    def words(self) -> Ints:
        """The last token of each."""
        return self.keys & WORD


@dataclass(frozen=True)
class Counts:
    """Of a text: how often each token stood in it [V], and the n-grams of every length from two on.
    border: the token that opens a document; no n-gram reaches across one.
    """

    words: Ints
    grams: tuple[Grams, ...]
    border: int | None

    @property
    def order(self) -> int:
        return len(self.grams) + 1


def make_key(begin: Ints, word: Ints) -> Ints:
    return (begin << WORD_BITS) | word


def find(keys: Ints, wanted: Ints) -> Ints:
    """The places of some keys; −1 for one that is not there.  [M] -> [M]

    Many are sorted first: neighbours then lie in the same lines of the processor's cache, which is
    three times as fast from some ten thousand on.
    """
    if not len(keys):
        return np.full(len(wanted), NONE)
    if len(wanted) <= 2**13:
        return _search(keys, wanted)
    order = np.argsort(wanted)
    places = np.empty(len(wanted), np.int64)
    places[order] = _search(keys, wanted[order])
    return places


def _search(keys: Ints, wanted: Ints) -> Ints:
    there = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[there] == wanted, there, NONE)


def follow(keys: Ints, tokens: Ints, numbers: Ints, opened: Ints) -> tuple[Ints, Ints, Ints]:
    """Of the tokens whose context is known: where they stand, the number of the context, and that
    of the n-gram that they end, −1 where there is none.  [T], [T] -> [K] three times

    numbers: of the n-grams one shorter that end at each token. opened: where a text begins.
    """
    before = np.empty_like(numbers)
    before[0] = NONE
    before[1:] = numbers[:-1]
    before[opened] = NONE
    ends = np.flatnonzero(before >= 0)
    contexts = before[ends]
    return ends, contexts, find(keys, make_key(contexts, tokens[ends]))


def list_openings(tokens: Ints, border: int | None) -> Ints:
    """Where a border stands."""
    return np.flatnonzero(tokens == border) if border is not None else np.empty(0, np.int64)


def walk(tokens: Ints, tables: Sequence[Ints], border: int | None) -> list[Ints]:
    """The numbers of the n-grams that end at each token, for every length up to one more than there
    are tables; −1 where there is none, or where it would reach across the beginning of the text.
    [T] -> [T] each
    """
    numbers, opened = [tokens], list_openings(tokens, border)
    for keys in tables if len(tokens) else ():
        ends, _, own = follow(keys, tokens, numbers[-1], opened)
        numbers.append(spread(ends, own, len(tokens)))
    return numbers


def spread(ends: Ints, own: Ints, length: int) -> Ints:
    """Numbers at their places, −1 elsewhere.  [K], [K] -> [T]"""
    number = np.full(length, NONE)
    number[ends] = own
    return number


def count_words(pieces: Iterable[Ints], vocab_size: int, border: int | None) -> Counts:
    words = np.zeros(vocab_size, np.int64)
    for tokens in pieces:
        words += np.bincount(tokens, minlength=vocab_size)
    return Counts(words, (), border)


@dataclass
class HeldText:
    """A text in memory, and the number of the longest counted n-gram that ends at each token, −1
    where none does [T] each: what is one longer is then found without a search.
    """

    tokens: Ints
    numbers: Ints

    def count_longer(self, counts: Counts) -> Counts:
        """As the function of that name."""
        before = np.concatenate([[NONE], self.numbers[:-1]])
        if counts.border is not None:
            before[self.tokens == counts.border] = NONE
        ends = np.flatnonzero(before >= 0)
        sorted_keys = np.unique(
            make_key(before[ends], self.tokens[ends]), return_inverse=True, return_counts=True
        )
        keys, own, number = sorted_keys
        suffix = np.empty(len(keys), np.int64)
        suffix[own] = self.numbers[ends]  # what ends there and is one shorter
        self.numbers = np.full(len(self.tokens), NONE)
        self.numbers[ends] = own
        longest = Grams(keys, number.astype(np.int64), suffix)
        return Counts(counts.words, (*counts.grams, longest), counts.border)


def hold_text(pieces: Iterable[Ints], counts: Counts, most: int = HELD) -> HeldText | None:
    """None for a text of more than so many tokens."""
    if counts.words.sum() > most:
        return None
    tokens = np.concatenate([np.empty(0, np.int64), *pieces])
    tables = [grams.keys for grams in counts.grams]
    return HeldText(tokens, walk(tokens, tables, counts.border)[-1])
