"""How often every run of up to n tokens stands in a text: sorted arrays, order by order, a part of
the text in memory at a time.

An n-gram is known by the number of its first n − 1 tokens among all of that length, and its last
token; so that whatever n is, it is one integer, and those that begin alike stand together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

WORD_BITS = 32
WORD = np.int64(2**WORD_BITS - 1)
RUN = 2**24  # n-grams that are sorted at a time, 128 MB
_NONE = np.int64(-1)


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
        return np.full(len(wanted), _NONE)
    if len(wanted) > 2**13:
        order = np.argsort(wanted)
        there = np.empty(len(wanted), np.int64)
        there[order] = np.searchsorted(keys, wanted[order])
    else:
        there = np.searchsorted(keys, wanted)
    there = np.minimum(there, len(keys) - 1)
    return np.where(keys[there] == wanted, there, _NONE)


def walk(tokens: Ints, tables: Sequence[Ints], border: int | None) -> list[Ints]:
    """The numbers of the n-grams that end at each token, for every length up to one more than there
    are tables; −1 where there is none, or where it would reach across the beginning of the text.
    [T] -> [T] each
    """
    numbers = [tokens]
    opens = np.zeros(len(tokens), bool) if border is None else tokens == border
    for keys in tables:
        before = np.concatenate([[_NONE], numbers[-1][:-1]])
        before[opens] = _NONE
        known = np.flatnonzero(before >= 0)
        number = np.full(len(tokens), _NONE)
        number[known] = find(keys, make_key(before[known], tokens[known]))
        numbers.append(number)
    return numbers


def count_ngrams(
    pieces: Iterable[Ints], order: int, vocab_size: int, border: int | None, run: int = RUN
) -> Counts:
    """Of a text in pieces, which is read once for every length.

    pieces: can be iterated over again and again. Pieces follow each other: an n-gram may begin in
    one and end in the next. run: n-grams that are sorted at a time.
    """
    counts = count_words(pieces, vocab_size, border)
    held = hold_text(pieces, counts, run)
    while counts.order < order:
        counts = count_longer(pieces, counts, run) if held is None else held.count_longer(counts)
    return counts


def count_words(pieces: Iterable[Ints], vocab_size: int, border: int | None) -> Counts:
    words = np.zeros(vocab_size, np.int64)
    for tokens in pieces:
        words += np.bincount(tokens, minlength=vocab_size)
    return Counts(words, (), border)


def count_longer(pieces: Iterable[Ints], counts: Counts, run: int = RUN) -> Counts:
    """With the n-grams of the same text that are one longer; a part of it in memory at a time."""
    tables = [grams.keys for grams in counts.grams]
    with tempfile.TemporaryDirectory() as folder:
        runs = _write_runs(_list_keys(pieces, tables, counts.border), Path(folder), run)
        keys, number = _merge(runs, run)
    longest = Grams(keys, number, _find_suffixes(keys, counts.grams))
    return Counts(counts.words, (*counts.grams, longest), counts.border)


@dataclass
class HeldText:
    """A text in memory, and the number of the longest counted n-gram that ends at each token, −1
    where none does [T] each: what is one longer is then found without a search.
    """

    tokens: Ints
    numbers: Ints

    def count_longer(self, counts: Counts) -> Counts:
        """As the function of that name."""
        before = np.concatenate([[_NONE], self.numbers[:-1]])
        if counts.border is not None:
            before[self.tokens == counts.border] = _NONE
        ends = np.flatnonzero(before >= 0)
        sorted_keys = np.unique(
            make_key(before[ends], self.tokens[ends]), return_inverse=True, return_counts=True
        )
        keys, own, number = sorted_keys
        suffix = np.empty(len(keys), np.int64)
        suffix[own] = self.numbers[ends]  # what ends there and is one shorter
        self.numbers = np.full(len(self.tokens), _NONE)
        self.numbers[ends] = own
        longest = Grams(keys, number.astype(np.int64), suffix)
        return Counts(counts.words, (*counts.grams, longest), counts.border)


def hold_text(pieces: Iterable[Ints], counts: Counts, most: int = RUN) -> HeldText | None:
    """None for a text of more than so many tokens."""
    if counts.words.sum() > most:
        return None
    tokens = np.concatenate([np.empty(0, np.int64), *pieces])
    tables = [grams.keys for grams in counts.grams]
    return HeldText(tokens, walk(tokens, tables, counts.border)[-1])


def _find_suffixes(keys: Ints, shorter: Sequence[Grams]) -> Ints:
    begins, words = keys >> WORD_BITS, keys & WORD
    if not shorter:
        return words
    return find(shorter[-1].keys, make_key(shorter[-1].suffix[begins], words))


def _list_keys(
    pieces: Iterable[Ints], tables: Sequence[Ints], border: int | None
) -> Iterator[Ints]:
    """The key of every n-gram of the text that is one longer than the tables'."""
    reach = len(tables) + 1  # tokens before the last one
    tail = np.empty(0, np.int64)
    for piece in pieces:
        tokens = np.concatenate([tail, piece])
        numbers = walk(tokens, tables, border)[-1]
        before = np.concatenate([[_NONE], numbers[:-1]])
        if border is not None:
            before[tokens == border] = _NONE
        before[: len(tail)] = _NONE  # which the piece before has counted
        known = before >= 0
        yield make_key(before[known], tokens[known])
        tail = tokens[-reach:]


def _write_runs(keys: Iterable[Ints], folder: Path, run: int) -> list[tuple[Ints, Ints]]:
    """Sorted, each key once with its count; on disk but for the last."""
    runs: list[tuple[Ints, Ints]] = []
    held: list[Ints] = []
    size = 0

    def close(keep: bool) -> None:
        unique, counts = np.unique(np.concatenate(held), return_counts=True)
        parts = unique, counts.astype(np.int64)
        if not keep:
            files = [folder / f"{len(runs)}-{i}.npy" for i in range(2)]
            for file, part in zip(files, parts, strict=True):
                np.save(file, part)
            parts = tuple(np.load(file, mmap_mode="r") for file in files)
        runs.append((parts[0], parts[1]))
        held.clear()

    for some in keys:
        held.append(some)
        size += len(some)
        if size >= run:
            close(keep=False)
            size = 0
    if held:
        close(keep=True)
    return runs


def _merge(runs: Sequence[tuple[Ints, Ints]], size: int) -> tuple[Ints, Ints]:
    """One sorted run out of several, a range of keys at a time."""
    if not runs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if len(runs) == 1:
        return np.array(runs[0][0]), np.array(runs[0][1])
    longest = max(runs, key=lambda run: len(run[0]))[0]
    step = max(1, size // len(runs))
    cuts = [*longest[step::step], np.iinfo(np.int64).max]
    begins = [0] * len(runs)
    merged: list[tuple[Ints, Ints]] = []
    for cut in cuts:
        ends = [int(np.searchsorted(keys, cut)) for keys, _ in runs]
        some = [
            (keys[b:e], counts[b:e])
            for (keys, counts), b, e in zip(runs, begins, ends, strict=True)
        ]
        begins = ends
        keys, where = np.unique(np.concatenate([k for k, _ in some]), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, where, np.concatenate([c for _, c in some]))
        merged.append((keys, counts))
    return np.concatenate([k for k, _ in merged]), np.concatenate([c for _, c in merged])
