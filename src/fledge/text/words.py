"""Running text as the numbers of its words: a vocabulary by count, and chunks across whose borders
no window looks.

A word is letters and digits, an apostrophe inside of it too, in lower case; what is rarer than
`min_count` is left out, and its neighbours become neighbours (Mikolov et al. 2013).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fledge.text.documents import AnyDocument

CHUNK_WORDS = 10_000
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_LAST_SPACE = re.compile(r"\s(?=\S*$)")


@dataclass(frozen=True)
class Vocabulary:
    """Words, the most frequent first, and how often each stood in the training text.  [V]"""

    words: tuple[str, ...]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def number(self) -> dict[str, int]:
        """The place of each word."""
        return {word: place for place, word in enumerate(self.words)}


@dataclass(frozen=True)
class WordText:
    """ids: of all words in a row, int32 [N]. begins: where each chunk begins, and the end of the
    last, [C + 1].
    """

    ids: NDArray[np.int32]
    begins: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def chunks(self) -> int:
        return len(self.begins) - 1


def split_words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def list_words(document: AnyDocument) -> Iterator[str]:
    """The words of a document, a piece of it in memory at a time."""
    rest = ""
    for piece in document.chunks():
        text = rest + piece
        last = _LAST_SPACE.search(text)
        cut = last.start() if last else 0
        yield from split_words(text[:cut])
        rest = text[cut:]
    yield from split_words(rest)


class WordReader:
    """Numbers the words of documents as they come; 4 bytes a word."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    def read(self, documents: Iterable[AnyDocument]) -> tuple[NDArray[np.int32], list[int]]:
        """Numbers by first appearance, and the length of each document in words."""
        number, ids, lengths = self._number, array("i"), []
        for document in documents:
            before = len(ids)
            ids.extend(number.setdefault(word, len(number)) for word in list_words(document))
            lengths.append(len(ids) - before)
        return np.frombuffer(ids, np.int32) if ids else np.empty(0, np.int32), lengths

    def choose(
        self, ids: NDArray[np.int32], min_count: int
    ) -> tuple[Vocabulary, NDArray[np.int32]]:
        """The vocabulary of a text, and of every number so far the place in it, else −1."""
        counts = np.bincount(ids, minlength=len(self._number))
        names = list(self._number)
        kept = [int(i) for i in np.flatnonzero(counts >= max(1, min_count))]
        kept.sort(key=lambda i: (-counts[i], names[i]))
        places = np.full(len(names), -1, np.int32)
        places[kept] = np.arange(len(kept))
        return Vocabulary(tuple(names[i] for i in kept), counts[kept].astype(np.int64)), places


def make_text(
    ids: NDArray[np.int32], lengths: Sequence[int], places: NDArray[np.int32]
) -> WordText:
    """What `WordReader.read` gave, in the vocabulary's numbers and without words that are not in
    it; documents of more than `CHUNK_WORDS` in equal chunks.
    """
    own = places[ids]
    known = own >= 0
    ends = np.concatenate([[0], np.cumsum(known)])[np.cumsum([0, *lengths])]
    begins = [0]
    for begin, end in pairwise(ends):
        pieces = -(-int(end - begin) // CHUNK_WORDS)
        begins += [int(begin + (end - begin) * n // pieces) for n in range(1, pieces + 1)]
    return WordText(own[known], np.array(begins, np.int64))
