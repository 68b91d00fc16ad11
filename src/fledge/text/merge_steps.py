"""Byte-pair encoding as it is learned: each merge with how often its pair stood in the text, and
how many tokens the text is after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fledge.text.bpe import Merge, merge_word


@dataclass(frozen=True)
class MergeStep:
    """One merge. count: how often the pair stood in the text. tokens: of the text after it."""

    number: int
    merge: Merge
    count: int
    tokens: int


def trace_learning(words: Mapping[str, int], merges: Sequence[Merge]) -> Iterator[MergeStep]:
    """The merges one after the other on the words that they are replayed on.

    words: word -> how often it stands in the text.
    """
    pieces = {word: split_bytes(word) for word in words}
    tokens = sum(len(pieces[word]) * times for word, times in words.items())
    for number, merge in enumerate(merges, 1):
        count = 0
        for word, times in words.items():
            before = pieces[word]
            if merge[0] not in before:  # as in most words
                continue
            count += times * sum(pair == merge for pair in pairwise(before))
            pieces[word] = merge_word(before, merge, merge[0] + merge[1])
            tokens -= (len(before) - len(pieces[word])) * times
        yield MergeStep(number, merge, count, tokens)


def split_bytes(word: str) -> list[bytes]:
    """What a word is before any merge."""
    return [bytes((byte,)) for byte in word.encode("utf-8")]
