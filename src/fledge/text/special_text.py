"""A text in which some special tokens are meant and others are only spelled: the former where a
chat template wrote them, the latter in what people said.

What people said is guarded before it goes into the template: a private character stands inside
every special token that it spells, begins at its end or ends at its beginning. It takes part in
whatever the template does with a text (trimming, splitting, joining), and goes when the special
tokens have been found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


@dataclass(frozen=True)
class SpecialText:
    """What a template wrote, its guards in it. The plain text is `text`."""

    guarded: str
    guard: str
    spellings: Spellings

    @property
    def text(self) -> str:
        return self.guarded.replace(self.guard, "")

    def name_tokens(self, names: Mapping[str, str]) -> str:
        """The plain text with another name in place of each special token that is meant."""

        def name(match: re.Match[str]) -> str:
            # One of a single character has no inside: its guard comes right after it.
            lone = len(match[0]) == 1 and self.guarded.startswith(self.guard, match.end())
            return match[0] if lone else names[match[0]]

        return self.spellings.pattern.sub(name, self.guarded).replace(self.guard, "")

    def plain(self) -> bytes:
        """The text without the special tokens that are meant."""
        return self.name_tokens(dict.fromkeys(self.spellings.words, "")).encode("utf-8")

    def between(self, start: int, end: int) -> SpecialText:
        """A part of it, guards counted."""
        return SpecialText(self.guarded[start:end], self.guard, self.spellings)

    def upto(self, length: int) -> SpecialText:
        """Its beginning."""
        return self.between(0, length)


class Spellings:
    """How special tokens are spelled, and how a text is kept from spelling them."""

    def __init__(self, words: Collection[str]) -> None:
        self.words = sorted(words, key=lambda word: (-len(word), word))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The longest of them at a place; never, where there are none."""
        return re.compile("|".join(map(re.escape, self.words)) or r"(?!)")

    @cached_property
    def _starts(self) -> re.Pattern[str]:
        return re.compile(f"(?=(?:{self.pattern.pattern}))")

    @cached_property
    def _openings(self) -> frozenset[str]:
        return frozenset(word[:n] for word in self.words for n in range(1, len(word)))

    @cached_property
    def _closings(self) -> frozenset[str]:
        return frozenset(word[n:] for word in self.words for n in range(1, len(word)))

    def guard(self, text: str, guard: str, *, edges: bool) -> str:
        """The text with the guard inside every special token that it spells; with `edges` also
        where it could make one together with what stands before or after it.
        """
        places = {match.start() + 1 for match in self._starts.finditer(text)}
        if edges:
            longest = min(len(text), len(self.words[0]) - 1 if self.words else 0)
            for n in range(1, longest + 1):
                if text[-n:] in self._openings:
                    places.add(len(text) - n + 1)
                if text[:n] in self._closings:
                    places.add(n - 1)
        if not places:
            return text
        cuts = [0, *sorted(places), len(text)]
        return guard.join(text[a:b] for a, b in pairwise(cuts))


def choose_private(count: int, texts: Iterable[str]) -> list[str]:
    """So many private-use characters that stand in none of the texts. There are 137,000 of them:
    raises ValueError for texts that leave too few.
    """
    taken = set().union(*(set(text) for text in texts))
    free = (chr(code) for codes in PRIVATE_USE for code in codes if chr(code) not in taken)
    chosen = [character for character, _ in zip(free, range(count), strict=False)]
    if len(chosen) < count:
        raise ValueError("the texts hold every private-use character of Unicode")
    return chosen
