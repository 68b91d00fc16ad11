"""A text as sequences of symbols: each paragraph's letters, or its words and marks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

Unit = Literal["letters", "words"]
OTHER = "<other>"
RARE = 5  # a letter of fewer occurrences is one of the others
_GAP = re.compile(r"[\W\d_]+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+|[.,;:!?]")


def split_paragraphs(text: str) -> list[str]:
    """Between blank lines; those without a letter are none."""
    return [part for part in re.split(r"\n[^\S\n]*\n", text) if re.search(r"[^\W\d_]", part)]


def list_symbols(paragraph: str, unit: Unit) -> list[str]:
    """Lower-case letters and nothing between them; or lower-case words and the marks between them.

    Without the blanks, for with them a chain of two states learns where words end, and not which
    letters are vowels.
    """
    text = paragraph.lower()
    if unit == "words":
        return _WORD.findall(text)
    return list(_GAP.sub("", text))


def choose_alphabet(sequences: Iterable[Sequence[str]], unit: Unit, most: int) -> tuple[str, ...]:
    """What is told apart, the most frequent first, and last `OTHER`: for all else, and for what was
    never met.
    """
    count = Counter(symbol for sequence in sequences for symbol in sequence)
    ordered = sorted(count, key=lambda symbol: (-count[symbol], symbol))
    if unit == "letters":
        return (*(symbol for symbol in ordered if count[symbol] >= RARE), OTHER)
    return (*ordered[:most], OTHER)


def encode_symbols(sequence: Sequence[str], alphabet: Sequence[str]) -> list[int]:
    """Places in the alphabet, of which the last is for all others."""
    place = {symbol: number for number, symbol in enumerate(alphabet)}
    other = len(alphabet) - 1
    return [place.get(symbol, other) for symbol in sequence]
