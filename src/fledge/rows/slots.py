"""A table of slots and values as one line of text, and back; and which of the values a text says.

{"name": "The Eagle", "food": "French"}  <->  name: The Eagle | food: French
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fledge.errors import UserError
from fledge.rows.census import Unusable
from fledge.rows.fields import quote

Slots = dict[str, str]
_WORD = re.compile(r"\w+")
_BETWEEN, _AFTER_NAME = " | ", ": "


def read_slots(value: object, where: str) -> Slots:
    """The slots of a row. Raises UserError for what is no object of texts and numbers, and Unusable
    for none, and for one that a line could not tell from others.
    """
    if not isinstance(value, Mapping):
        raise UserError(
            f"the `slots` of {where} are {quote(value)}: write an object, such as "
            '{"name": "The Eagle", "food": "French"}'
        )
    slots: Slots = {}
    for name, said in value.items():
        if said is None:
            continue
        if isinstance(said, bool) or not isinstance(said, str | int | float):
            raise UserError(
                f"the slot {name!r} of {where} is {quote(said)}: write a text or a number"
            )
        words = " ".join(str(said).split())
        if not words or "|" in words or "|" in name or _AFTER_NAME in name or not name.strip():
            raise Unusable("a slot without a name or a value, or with a | in it")
        slots[" ".join(name.split())] = words
    if not slots:
        raise Unusable("no slots")
    return slots


def write_slots(slots: Mapping[str, str]) -> str:
    """As one line, in their order."""
    return _BETWEEN.join(f"{name}{_AFTER_NAME}{value}" for name, value in slots.items())


def parse_slots(line: str) -> Slots:
    """The slots of a line that `write_slots` wrote."""
    pairs = (part.partition(_AFTER_NAME) for part in line.split(_BETWEEN))
    return {name: value for name, _, value in pairs}


def list_said(slots: Mapping[str, str], text: str) -> list[str]:
    """The names of the slots whose value the text says: as whole words, in upper or lower case."""
    words = _normalise(text)
    return [name for name, value in slots.items() if _normalise(value) in words]


def _normalise(text: str) -> str:
    """Words in lower case, with a blank on either side of each."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "
