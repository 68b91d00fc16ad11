"""The tokens of a tokenizer as llguidance walks them, a tree of their bytes that all constraints
over it share.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from llguidance import LLTokenizer, TokenizerWrapper

from fledge.errors import UserError

if TYPE_CHECKING:
    from fledge.text.interface import Tokenizer

MOST_SILENCED = 4  # vocabularies kept beside one, for requests that stop at tokens of text


class Vocabulary:
    """Built once for a tokenizer: `vocabulary_of`. It takes 0.1 s of 49,000 tokens, 0.6 s of
    250,000.
    """

    def __init__(self, tokens: Sequence[bytes], names: Mapping[int, str] | None = None) -> None:
        """tokens: the bytes of each, b"" for special ones. names: how a grammar calls the special
        ones, where it may. Raises UserError where there are no tokens.
        """
        if not tokens:
            raise UserError(
                "an empty vocabulary was given: a constraint needs tokens to choose from."
            )
        self.tokens = [bytes(token) for token in tokens]
        self.names = dict(names or {})
        self._silenced: dict[frozenset[int], Vocabulary] = {}
        self.sayable = max((i + 1 for i, said in enumerate(self.tokens) if said), default=0)
        """All tokens that text comes to are before this one."""
        named = {
            number: name.encode()
            for number, name in self.names.items()
            if number < len(self.tokens) and not self.tokens[number]
        }
        spelled = [named.get(number, said) for number, said in enumerate(self.tokens)]
        self.tree = LLTokenizer(TokenizerWrapper(_Tokens(spelled, sorted(named))))

    def without(self, stop: frozenset[int]) -> Vocabulary:
        """The same tokens, where those that end a row say nothing."""
        spelled = frozenset(token for token in stop if self.tokens[token])
        if not spelled:
            return self
        if spelled not in self._silenced:
            if len(self._silenced) >= MOST_SILENCED:
                self._silenced.clear()
            tokens = [b"" if i in spelled else said for i, said in enumerate(self.tokens)]
            self._silenced[spelled] = Vocabulary(tokens, self.names)
        return self._silenced[spelled]

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def said(self) -> frozenset[bytes]:
        """The texts that single tokens say."""
        return frozenset(self.tokens) - {b""}

    @cached_property
    def alphabet(self) -> list[tuple[int, int]] | None:
        """The code points that every text made of them can be said in, as ranges with both ends:
        those of which each byte is a token, or that are tokens themselves. None where tokens have
        bytes that cannot be said alone: then no such set is enough.
        """
        alone = {said[0] for said in self.said if len(said) == 1}
        if set(b"".join(self.said)) <= alone:
            return _list_characters(alone)
        try:
            characters = {one for said in self.said for one in said.decode()}
        except UnicodeDecodeError:
            return None
        if not all(one.encode() in self.said for one in characters):
            return None
        return _merge((ord(one), ord(one)) for one in sorted(characters))

    def count_least(self, text: bytes, *, whole: bool) -> int | None:
        """How many tokens the shortest way to say a text takes; None where it cannot be said.

        whole: nothing comes after it. Else its last token may say more, and the number is a bound:
        whether there is such a token is not looked up.
        """
        fewest: list[int | None] = [0] + [None] * len(text)
        for end in range(1, len(text) + 1):
            steps = [
                one + 1
                for begin in range(max(0, end - self.longest), end)
                if (one := fewest[begin]) is not None and text[begin:end] in self.said
            ]
            fewest[end] = min(steps, default=None)
        if whole:
            return fewest[-1]
        beyond = [one + 1 for one in fewest[-self.longest - 1 : -1] if one is not None]
        return min([*beyond, *([] if fewest[-1] is None else [fewest[-1]])], default=None)

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest token; 1 where none has any."""
        return max(map(len, self.said), default=1)


def _list_characters(alone: set[int]) -> list[tuple[int, int]]:
    """Ranges of the code points whose UTF-8 has these bytes only.

    The last byte says which of 64 neighbours it is, so that blocks of 64 are put together.
    """
    if len(alone) == 256:
        return [(0, sys.maxunicode)]
    rest = [byte & 63 for byte in sorted(alone) if 0x80 <= byte < 0xC0]
    within = _merge((place, place) for place in rest)
    reached = [(byte, byte) for byte in sorted(alone) if byte < 0x80]
    # The first bytes of sequences, how many follow, and the least code point: no overlong forms.
    for first, last, tail, least in (
        (0xC2, 0xDF, 1, 0x80), (0xE0, 0xEF, 2, 0x800), (0xF0, 0xF4, 3, 0x10000),
    ):  # fmt: skip
        heads = [byte & (63 >> tail) for byte in sorted(alone) if first <= byte <= last]
        for _ in range(tail - 1):
            heads = [head << 6 | more for head in heads for more in rest]
        reached += [
            (head << 6 | low, head << 6 | high)
            for head in heads
            if least <= head << 6 <= sys.maxunicode
            for low, high in within
        ]
    return _merge(reached)


def _merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbours as one; in order."""
    merged: list[tuple[int, int]] = []
    for low, high in ranges:
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


class _Tokens:
    """What llguidance asks of a tokenizer. Its end token is one of its own, behind all others: what
    ends a row is not the tokenizer's to say but the request's.
    """

    bos_token_id = None

    def __init__(self, spelled: list[bytes], special: list[int]) -> None:
        self.eos_token_id = len(spelled)
        self.tokens = [*spelled, b"<end>"]
        self.special_token_ids = [*special, self.eos_token_id]

    def __call__(self, text: bytes | str) -> list[int]:
        """Only what is forced is ever encoded, and our grammars force nothing."""
        return []


_built: WeakKeyDictionary[Tokenizer, Vocabulary] = WeakKeyDictionary()
_building = Lock()  # a server asks from many threads


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """The tokenizer's, made when it is first asked for."""
    with _building:
        if tokenizer not in _built:
            special = getattr(tokenizer, "special_tokens", {})
            names = {number: name for name, number in special.items()}
            _built[tokenizer] = Vocabulary(tokenizer.vocabulary, names)
        return _built[tokenizer]
