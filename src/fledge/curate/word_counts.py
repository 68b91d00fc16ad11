"""How many words a text has as white space divides it, as Gopher's rules count them."""

from __future__ import annotations

from dataclasses import dataclass

from fledge.curate.run_kernel import count_native, load_kernel, pack_words

COMMON = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_PACKED = pack_words(sorted(COMMON))


@dataclass(frozen=True)
class WordCounts:
    """characters: of all words. lettered: words with a letter, at the least. common: how many of
    `COMMON` there are. small: the text as words are hashed, where it came out on the way.
    """

    words: int
    characters: int
    lettered: int
    common: int
    small: bytes | None = None


def count_words(text: str) -> WordCounts:
    library = load_kernel()
    if library is None:
        return count_plain(text)
    raw = text.encode("utf-8", "surrogatepass")
    *counts, cased = count_native(library, raw, _PACKED)
    # That of bytes knows ASCII alone, and is many times as fast.
    return WordCounts(*counts, small=None if cased else raw.lower())


def count_plain(text: str) -> WordCounts:
    """As `count_words`, without C. Most words are letters alone."""
    words = text.split()
    return WordCounts(
        words=len(words),
        characters=sum(map(len, words)),
        lettered=sum(map(str.isalpha, words)),
        common=len(COMMON.intersection(words)),
    )
