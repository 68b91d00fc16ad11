"""Byte-level byte-pair encoding: learns the merges from text, and replays them on one word to show
how it splits.

Sennrich, Haddow and Birch 2016, arXiv:1508.07909, algorithm 1, over bytes instead of characters as
in GPT-2 (https://github.com/openai/gpt-2/blob/master/src/encoder.py), whose rule for cutting text
into words is used too.

Why the merges are not learned by the `tokenizers` library: it breaks ties by token id, so the order
of its merges depends on how its vocabulary was numbered, and "the car, the cat, the rat" begins
with h+e. Here the greater pair wins,
byte by byte: a rule one can state. The time is much the same (8.6 MB of novels, 4,000 merges: 3 s
on one core, where the library takes 2 s on two).
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

Merge = tuple[bytes, bytes]
Token = TypeVar("Token")
_Pair = tuple[int, int]

MOST_WORDS = 1 << 20
"""Different words that are counted at most: about 150 MB, which a gigabyte of prose just fills."""

# Unicode's White_Space. Python's own \s also takes the control bytes 1C to 1F, which GPT-2's does
# not.
_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


@lru_cache(maxsize=1)
def word_pattern() -> re.Pattern[str]:
    """GPT-2's rule for words: a contraction; letters, digits or signs with at most one space before
    them; or spaces.
    """
    letter, number = _category("L"), _category("N")
    return re.compile(
        rf"'(?:[sdmt]|ll|ve|re)| ?[{letter}]+| ?[{number}]+| ?[^{_SPACE}{letter}{number}]+"
        rf"|[{_SPACE}]+(?![^{_SPACE}])|[{_SPACE}]+"
    )


def _category(initial: str) -> str:
    """The inside of a regular expression's [...] for all characters whose general category starts
    with `initial`.
    """
    ranges: list[list[int]] = []
    for code in range(0x110000):
        if unicodedata.category(chr(code))[0] != initial:
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in ranges)


@lru_cache(maxsize=1)
def printable_bytes() -> tuple[str, ...]:
    """GPT-2's printable character for each of the 256 bytes: itself where it can be seen, else from
    U+0100 upwards.
    """
    seen = {
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    }
    hidden = [byte for byte in range(256) if byte not in seen]
    return tuple(
        chr(byte) if byte in seen else chr(0x100 + hidden.index(byte)) for byte in range(256)
    )


def spell(token: bytes) -> str:
    """A token's bytes in the printable alphabet, as tokenizer.json writes them."""
    return "".join(printable_bytes()[byte] for byte in token)


def unspell(word: str) -> bytes:
    """The inverse of `spell`. Raises KeyError for a character outside the alphabet."""
    try:
        return word.translate(_latin_of()).encode("latin-1")
    except UnicodeEncodeError as error:
        raise KeyError(word[error.start]) from None


@lru_cache(maxsize=1)
def _latin_of() -> dict[int, int]:
    """Of each character the one whose number is its byte; of one outside the alphabet none."""
    outside = dict.fromkeys(range(256), 0xFFFF)
    return outside | {ord(character): byte for byte, character in enumerate(printable_bytes())}


class WordCounts(Counter[str]):
    """How often each word stands in a text."""

    forgotten = 0
    """How many times a word was forgotten as one of the rarest, to keep the table bounded."""


def count_words(texts: Iterable[str], most: int = MOST_WORDS) -> WordCounts:
    """How often each word stands in the texts. No word crosses from one text to the next.

    Exact for up to `most` different words. Whenever there are more, the rarest so far are forgotten
    until half as many are left, of equally rare ones those that came last (as in lossy counting:
    Manku and Motwani 2002, VLDB).
    """
    counts = WordCounts()
    for text in texts:
        counts.update(word_pattern().findall(text))
        if len(counts) > most:
            counts = _without_rarest(counts, most // 2)
    return counts


def _without_rarest(counts: WordCounts, most: int) -> WordCounts:
    kept, forgotten = WordCounts(), counts.forgotten + len(counts) - most
    least = heapq.nlargest(most, counts.values())[-1]
    # places left for words that stand `least` times
    equal = most - sum(times > least for times in counts.values())
    for word, times in counts.items():
        if times > least or (times == least and equal > 0):
            kept[word] = times
            equal -= times == least
    kept.forgotten = forgotten
    return kept


def learn_merges(words: Mapping[str, int], count: int) -> list[Merge]:
    """The merges in order, until they make `count` new tokens: each time the most frequent adjacent
    pair.

    On equal counts the greater pair, the left side first, compared byte by byte. Fewer when no pair
    is left.

    words: word -> how often it stands in the text. The result does not depend on the order of the
        words.
    """
    table = _WordTable(words)
    # the numbers in the table -> what they stand for
    token = [bytes((byte,)) for byte in range(256)]
    number = {each: place for place, each in enumerate(token)}
    pair_count, words_with = table.count_pairs()

    # The heap is lazy: an entry whose count is no longer the pair's count is skipped when it comes
    # up, and a changed pair is pushed anew. Looking for the maximum in the whole table would be a
    # pass over tens of thousands of pairs.
    def entry(pair: _Pair) -> tuple[int, bytes, bytes, _Pair]:
        return -pair_count[pair], _descending(token[pair[0]]), _descending(token[pair[1]]), pair

    heap = [entry(pair) for pair in pair_count]
    heapq.heapify(heap)
    merges: list[Merge] = []
    made: set[bytes] = set()  # (ab, c) and (a, bc) are two merges and one token
    while heap and len(made) < count:
        negative_count, _, _, pair = heapq.heappop(heap)
        if pair_count.get(pair) != -negative_count:
            continue
        merge = token[pair[0]], token[pair[1]]
        merges.append(merge)
        joined = b"".join(merge)
        made.add(joined)
        merged = number.setdefault(joined, len(token))
        if merged == len(token):
            token.append(joined)
        change: dict[_Pair, int] = defaultdict(int)
        for index in words_with.pop(pair):
            before = table.word(index)
            after = merge_word(before, pair, merged)
            # an earlier merge has already taken one side of the pair away
            if len(after) == len(before):
                continue
            times = table.times[index]
            for old in pairwise(before):
                change[old] -= times
            for new in pairwise(after):
                change[new] += times
                if merged in new:
                    _remember(words_with, new, index)
            table.replace(index, after)
        for changed, difference in change.items():
            if difference == 0:
                continue
            pair_count[changed] += difference
            if pair_count[changed] > 0:
                heapq.heappush(heap, entry(changed))
            else:
                del pair_count[changed]
    return merges


class _WordTable:
    """All words as numbers in one row, which takes a tenth of the memory of a list of tokens a
    word.
    """

    def __init__(self, words: Mapping[str, int]) -> None:
        self.times = array("q", words.values())
        self._numbers, self._start, self._length = array("i"), array("q"), array("i")
        for word in words:
            content = word.encode("utf-8")
            self._start.append(len(self._numbers))
            self._length.append(len(content))
            self._numbers.extend(content)

    def word(self, index: int) -> list[int]:
        start = self._start[index]
        return self._numbers[start : start + self._length[index]].tolist()

    def replace(self, index: int, word: list[int]) -> None:
        """Put a shorter word in place of one."""
        start = self._start[index]
        self._numbers[start : start + len(word)] = array("i", word)
        self._length[index] = len(word)

    def count_pairs(self) -> tuple[dict[_Pair, int], dict[_Pair, array[int]]]:
        """How often each adjacent pair stands in the text, and in which words it does."""
        pair_count: dict[_Pair, int] = defaultdict(int)
        words_with: dict[_Pair, array[int]] = {}
        for index, times in enumerate(self.times):
            for pair in pairwise(self.word(index)):
                pair_count[pair] += times
                _remember(words_with, pair, index)
        return pair_count, words_with


def _remember(words_with: dict[_Pair, array[int]], pair: _Pair, index: int) -> None:
    """Note that the word has the pair; now and then twice, which does no harm."""
    indices = words_with.get(pair)
    if indices is None:
        words_with[pair] = array("I", (index,))
    elif indices[-1] != index:
        indices.append(index)


@lru_cache(maxsize=1 << 16)
def _descending(token: bytes) -> bytes:
    """A key under which greater tokens come first: every byte turned round, and an end mark above
    all of them.

    Two bytes for each byte, so that the end mark (01 00) is above any turned byte (00 xx) and a
    prefix comes last.
    """
    return b"".join(bytes((0, 255 - byte)) for byte in token) + b"\x01\x00"


def merge_word(word: Sequence[Token], pair: tuple[Token, Token], merged: Token) -> list[Token]:
    """The word with `merged` in place of every occurrence of the pair, from left to right."""
    joined: list[Token] = []
    position = 0
    while position < len(word):
        if position + 1 < len(word) and word[position] == pair[0] and word[position + 1] == pair[1]:
            joined.append(merged)
            position += 2
        else:
            joined.append(word[position])
            position += 1
    return joined


def trace_word(word: bytes, ranks: Mapping[Merge, int]) -> list[tuple[Merge, list[bytes]]]:
    """The merges that apply to one word, in the order they apply, each with the pieces the word
    then consists of.

    ranks: merge -> its place in the order of learning. The last pieces are how the tokenizer splits
        the word.
    """
    pieces = [bytes((byte,)) for byte in word]
    steps: list[tuple[Merge, list[bytes]]] = []
    while True:
        known = [pair for pair in pairwise(pieces) if pair in ranks]
        if not known:
            return steps
        first = min(known, key=ranks.__getitem__)
        pieces = merge_word(pieces, first, first[0] + first[1])
        steps.append((first, list(pieces)))
