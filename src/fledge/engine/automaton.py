"""From a regular expression, or a list of words, to a deterministic automaton over bytes (Thompson
1968; Rabin and Scott 1959).

The language is that of `re.fullmatch(pattern, text, re.ASCII)` on the UTF-8 bytes of the text: \\d,
\\w, \\s and the letters that (?i) pairs are the ASCII ones, `.` is any character but a newline.
What no finite automaton has (backreferences, look-around, conditional groups) is refused, and so
are atomic groups, possessive repetitions and anchors inside.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from fledge.errors import UserError

_parser: Any = import_module("re._parser")  # the standard library's own; no type stub names them
_op: Any = import_module("re._constants")

MAX_STATES = 20_000  # of the deterministic automaton: 20 MB of table
MAX_PIECES = 100_000  # states before it is made deterministic
# Of the construction, 1 or 2 s: (a?){5000} is small and yet would take minutes.
MAX_STEPS = 2_000_000

_LAST = 0x10FFFF
_REFUSED = {
    _op.GROUPREF: "a backreference",
    _op.GROUPREF_EXISTS: "a conditional group",
    _op.ASSERT: "look-around",
    _op.ASSERT_NOT: "look-around",
    _op.FAILURE: "look-around",  # (?!)
    _op.ATOMIC_GROUP: "an atomic group",
    _op.POSSESSIVE_REPEAT: "a possessive repetition",
    _op.AT: "an anchor inside (^ is accepted at the start, $ at the end)",
}
_DIGIT, _SPACE = ((48, 57),), ((9, 13), (32, 32))
_WORD = ((48, 57), (65, 90), (95, 95), (97, 122))

# Of code points, or of the bytes of one UTF-8 sequence; both ends included.
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Automaton:
    """State 0 is dead, state 1 is the start."""

    table: np.ndarray  # [S, 256] int32: the state after each byte
    accepting: np.ndarray  # [S] bool


def compile_pattern(pattern: str) -> Automaton:
    """Raises UserError for a pattern that does not parse, is not regular, or is too large."""
    try:
        tree = _parser.parse(pattern, re.ASCII)
        pieces = _Pieces(pattern)
        end = pieces.add_sequence(tree, 0, tree.state.flags, first=True, last=True)
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        raise UserError(
            f"the pattern {shorten(pattern)} does not parse: {error.msg}{where}."
        ) from None
    except (OverflowError, ValueError) as error:  # a{99999999999}; (?u)
        raise UserError(f"the pattern {shorten(pattern)} does not parse: {error}.") from None
    except RecursionError:
        raise UserError(
            f"the pattern {shorten(pattern)} is nested too deeply: take parentheses out of it."
        ) from None
    return pieces.determinise(end)


def compile_words(words: Iterable[bytes]) -> Automaton:
    """The tree of the words' prefixes, which is deterministic as it stands. Raises UserError where
    it is too large.
    """
    after: list[dict[int, int]] = [{}, {}]
    ends: set[int] = set()
    for word in words:
        state = 1
        for byte in word:
            if byte not in after[state]:
                if len(after) >= MAX_STATES:
                    raise UserError(
                        f"the choices need more than {MAX_STATES:,} states: give fewer, or shorter "
                        "ones."
                    )
                after[state][byte] = len(after)
                after.append({})
            state = after[state][byte]
        ends.add(state)
    table = np.zeros((len(after), 256), dtype=np.int32)
    for state, row in enumerate(after):
        table[state, list(row)] = list(row.values())
    return Automaton(table, np.isin(np.arange(len(after)), list(ends)))


def shorten(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 80 else pattern[:80] + "…")


class _Pieces:
    """Thompson's automaton: each piece of the pattern leads from a state to a state; nothing is
    read on a free step.

    A repetition goes back only to a state of its own, so that pieces may share the state where they
    begin.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.free: list[list[int]] = [[]]
        self.reads: list[list[tuple[int, int, int]]] = [[]]  # first byte, last byte, state after it
        self.steps = 0

    def add_state(self) -> int:
        if len(self.free) >= MAX_PIECES:
            raise self.explain_size()
        self.free.append([])
        self.reads.append([])
        return len(self.free) - 1

    def add_after(self, here: int) -> int:
        state = self.add_state()
        self.free[here].append(state)
        return state

    def add_sequence(
        self, items: Iterable[Any], here: int, flags: int, first: bool = False, last: bool = False
    ) -> int:
        """first, last: whether these items begin, or end, the whole pattern."""
        items = list(items)
        for place, (op, value) in enumerate(items, start=1):
            here = self.add_piece(op, value, here, flags, first, last and place == len(items))
            first = first and op is _op.AT
        return here

    def add_piece(self, op: Any, value: Any, here: int, flags: int, first: bool, last: bool) -> int:
        if op in (_op.LITERAL, _op.NOT_LITERAL, _op.ANY, _op.IN):
            return self.add_character(here, _list_characters(op, value, flags))
        if op is _op.SUBPATTERN and not value[1] & re.UNICODE:
            return self.add_sequence(value[3], here, (flags | value[1]) & ~value[2], first, last)
        if op is _op.BRANCH:
            end = self.add_state()
            for branch in value[1]:
                self.free[self.add_sequence(branch, here, flags, first, last)].append(end)
            return end
        if op in (_op.MAX_REPEAT, _op.MIN_REPEAT):  # greedy and lazy match the same texts whole
            least, most, body = value
            return self.add_repeat(here, least, most, body, flags)
        begins = first and value in (_op.AT_BEGINNING, _op.AT_BEGINNING_STRING)
        if op is _op.AT and (begins or (last and value in (_op.AT_END, _op.AT_END_STRING))):
            return here
        construct = _REFUSED.get(op, "the flag (?u:…)" if op is _op.SUBPATTERN else str(op).lower())
        raise UserError(
            f"the pattern {shorten(self.pattern)} has {construct}, which a constraint cannot "
            "follow: rewrite it without."
        )

    def add_repeat(self, here: int, least: int, most: int, body: Iterable[Any], flags: int) -> int:
        for _ in range(least):
            here = self.add_sequence(body, self.add_after(here), flags)
        if most is _op.MAXREPEAT:
            again = self.add_after(here)
            self.free[self.add_sequence(body, again, flags)].append(again)
            return again
        end = self.add_after(here)
        # (x(x(x)?)?)?, not x?x?x?: one free step to the end from each copy.
        for _ in range(most - least):
            here = self.add_sequence(body, self.add_after(here), flags)
            self.free[here].append(end)
        return end

    def add_character(self, here: int, characters: Ranges) -> int:
        end = self.add_state()
        # Sequences that end alike share it: 8 states for `.`, not 20.
        tails: dict[tuple[int, int, int], int] = {}
        for first, *rest in _encode_utf8(characters):
            there = end
            for low, high in reversed(rest):
                if (low, high, there) not in tails:
                    tails[low, high, there] = self.add_state()
                    self.reads[tails[low, high, there]].append((low, high, there))
                there = tails[low, high, there]
            self.reads[here].append((*first, there))
        return end

    def determinise(self, end: int) -> Automaton:
        """The subset construction, on classes of bytes that no piece tells apart."""
        cuts = sorted(
            {0, 256}
            | {cut for reads in self.reads for low, high, _ in reads for cut in (low, high + 1)}
        )
        number = {cut: place for place, cut in enumerate(cuts)}
        reads = [
            [(number[low], number[high + 1], there) for low, high, there in row]
            for row in self.reads
        ]
        subsets: list[frozenset[int]] = [frozenset(), self.close({0}, end)]
        numbers = {subset: state for state, subset in enumerate(subsets)}
        raw: dict[frozenset[int], int] = {}  # before the free steps
        rows: list[list[int]] = []
        for subset in subsets:  # which grows as we go
            row = [0] * (len(cuts) - 1)
            targets: defaultdict[int, set[int]] = defaultdict(set)
            for here in subset:
                for low, high, there in reads[here]:
                    self.count_steps(high - low)
                    for place in range(low, high):
                        targets[place].add(there)
            for place, states in targets.items():
                target = frozenset(states)
                if target not in raw:
                    closed = self.close(target, end)
                    raw[target] = numbers.setdefault(closed, len(subsets))
                    if raw[target] == len(subsets):
                        subsets.append(closed)
                    if len(subsets) > MAX_STATES:
                        raise self.explain_size()
                row[place] = raw[target]
            rows.append(row)
        table = np.array(rows, dtype=np.int32).repeat(
            [high - low for low, high in pairwise(cuts)], axis=1
        )
        return Automaton(table, np.array([end in subset for subset in subsets]))

    def close(self, states: Collection[int], end: int) -> frozenset[int]:
        """What free steps lead to, and reads a byte or is the end: the others no longer matter."""
        seen, waiting = set(states), list(states)
        while waiting:
            news = [state for state in self.free[waiting.pop()] if state not in seen]
            seen.update(news)
            waiting.extend(news)
        self.count_steps(len(seen))
        return frozenset(state for state in seen if self.reads[state] or state == end)

    def count_steps(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise self.explain_size()

    def explain_size(self) -> UserError:
        return UserError(
            f"the pattern {shorten(self.pattern)} is too large: its automaton passes the limit of "
            f"{MAX_STATES:,} states ({MAX_PIECES:,} before it is made deterministic, {MAX_STEPS:,} "
            "steps in the making); repeat less in it."
        )


def _list_characters(op: Any, value: Any, flags: int) -> Ranges:
    """The code points that one character of the pattern stands for."""
    if op is _op.ANY:
        return ((0, _LAST),) if flags & re.DOTALL else _invert(((10, 10),))
    negated = op is _op.NOT_LITERAL
    ranges: list[tuple[int, int]] = []
    for kind, item in value if op is _op.IN else [(_op.LITERAL, value)]:
        if kind is _op.NEGATE:
            negated = True
        elif kind is _op.CATEGORY:
            name = item.name.removeprefix("CATEGORY_")
            category = {"DIGIT": _DIGIT, "SPACE": _SPACE, "WORD": _WORD}[name.removeprefix("NOT_")]
            ranges.extend(_invert(category) if name.startswith("NOT_") else category)
        else:
            ranges.append(item if kind is _op.RANGE else (item, item))
    if flags & re.IGNORECASE:
        for low, high in list(ranges):
            for a, shift in ((65, 32), (97, -32)):  # A–Z, a–z
                if low <= a + 25 and high >= a:
                    ranges.append((max(low, a) + shift, min(high, a + 25) + shift))
    return _invert(ranges) if negated else tuple(ranges)


def _invert(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The code points that are in none of them."""
    free, gaps = 0, []
    for low, high in sorted(ranges):
        if free < low:
            gaps.append((free, low - 1))
        free = max(free, high + 1)
    return (*gaps, (free, _LAST)) if free <= _LAST else tuple(gaps)


@lru_cache(maxsize=1024)
def _encode_utf8(characters: Ranges) -> list[Ranges]:
    """Sequences of byte ranges that together are the UTF-8 of these code points, and of no others.
    UTF-8 has no surrogates.
    """
    waiting, sequences = list(characters), []
    while waiting:
        low, high = waiting.pop()
        # Two code points are the ends of one sequence if they are equally long and all bytes behind
        # the first that differs run from their least to their greatest: cut at the lengths, around
        # the surrogates, and where 6 n bits are not full.
        cuts = [0x80, 0x800, 0xD800, 0xE000, 0x10000]
        for bits in (6, 12, 18):
            size = 1 << bits
            if low >= 0x80 and low // size != high // size:
                cuts += [-(-low // size) * size, (high + 1) // size * size]
        cut = next((cut for cut in cuts if low < cut <= high), None)
        if cut is not None:
            waiting += [(low, cut - 1), (cut, high)]
        elif not 0xD800 <= low <= 0xDFFF:
            sequences.append(tuple(zip(chr(low).encode(), chr(high).encode(), strict=True)))
    return sequences
