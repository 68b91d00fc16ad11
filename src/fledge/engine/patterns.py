"""A regular expression of Python's `re`, written in the syntax of llguidance's.

The language is that of `re.fullmatch(pattern, text, re.ASCII)`: \\d, \\w, \\s and the letters that
(?i) pairs are the ASCII ones, `.` is any character but a newline. What no regular language has
(backreferences, look-around, conditional groups) is refused, and so are atomic groups, possessive
repetitions and anchors inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from fledge.errors import UserError

_parser: Any = import_module("re._parser")  # the standard library's own; no type stub names them
_op: Any = import_module("re._constants")

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

Ranges = tuple[tuple[int, int], ...]  # of code points, both ends included


def translate_pattern(pattern: str) -> str:
    """Raises UserError for a pattern that does not parse or is not regular."""
    try:
        tree = _parser.parse(pattern, re.ASCII)
        return _Translation(pattern).write_sequence(tree, tree.state.flags, first=True, last=True)
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        raise UserError(
            f"the pattern {shorten(pattern)} does not parse: {error.msg}{where}."
        ) from None
    except (OverflowError, ValueError) as error:  # a{99999999999}; (?u)
        raise UserError(f"the pattern {shorten(pattern)} does not parse: {error}.") from None
    except RecursionError:
        raise UserError(
            f"the pattern {shorten(pattern)} is nested too deeply: flatten it."
        ) from None


def shorten(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 80 else pattern[:80] + "…")


def write_class(ranges: Iterable[tuple[int, int]]) -> str:
    """One character of these code points. UTF-8 has no surrogates, so they are left out."""
    pairs = [
        part
        for low, high in ranges
        for part in ((low, min(high, 0xD7FF)), (max(low, 0xE000), high))
        if part[0] <= part[1]
    ]
    if not pairs:
        return r"[^\x{0}-\x{10FFFF}]"  # none
    return "[" + "".join(rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in pairs) + "]"


def write_text(text: str) -> str:
    """Every character as itself."""
    return "".join(
        letter if letter.isascii() and letter.isalnum() else rf"\x{{{ord(letter):x}}}"
        for letter in text
    )


class _Translation:
    """Of one pattern, piece by piece of the tree that Python's parser makes of it."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def write_sequence(
        self, items: Iterable[Any], flags: int, first: bool = False, last: bool = False
    ) -> str:
        """first, last: whether these items begin, or end, the whole pattern."""
        items, written = list(items), []
        for place, (op, value) in enumerate(items, start=1):
            written.append(self.write_piece(op, value, flags, first, last and place == len(items)))
            first = first and op is _op.AT
        return "".join(written)

    def write_piece(self, op: Any, value: Any, flags: int, first: bool, last: bool) -> str:
        if op in (_op.LITERAL, _op.NOT_LITERAL, _op.ANY, _op.IN):
            return write_class(_list_characters(op, value, flags))
        if op is _op.SUBPATTERN and not value[1] & re.UNICODE:
            inside = self.write_sequence(value[3], (flags | value[1]) & ~value[2], first, last)
            return f"(?:{inside})"
        if op is _op.BRANCH:
            branches = [self.write_sequence(one, flags, first, last) for one in value[1]]
            return f"(?:{'|'.join(branches)})"
        if op in (_op.MAX_REPEAT, _op.MIN_REPEAT):  # greedy and lazy match the same texts whole
            least, most, body = value
            end = "" if most is _op.MAXREPEAT else most
            return f"(?:{self.write_sequence(body, flags)}){{{least},{end}}}"
        begins = first and value in (_op.AT_BEGINNING, _op.AT_BEGINNING_STRING)
        if op is _op.AT and (begins or (last and value in (_op.AT_END, _op.AT_END_STRING))):
            return ""
        construct = _REFUSED.get(op, "the flag (?u:…)" if op is _op.SUBPATTERN else str(op).lower())
        raise UserError(
            f"the pattern {shorten(self.pattern)} has {construct}, which a constraint cannot "
            "follow: rewrite it without."
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
