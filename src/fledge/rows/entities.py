"""Tags of words as entities, and back: IOB1, IOB2, IOBES and BILOU are read by the rules of
conlleval (Tjong Kim Sang & Buchholz 2000), and written as IOB2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

OUTSIDE = "O"
# Begin, inside, end (IOBES) or last (BILOU), single or unit.
_MARKED = re.compile(r"([BIELSU])-(.+)")

Entity = tuple[str, int, int]  # its type, its first word, and the one after its last


def name_entities(tags: Iterable[str]) -> bool:
    """Whether the tags of a file mark entities: each is O or has a mark and a type. Word classes
    and the like are labels one by one.
    """
    kinds = set(tags)
    return kinds != {OUTSIDE} and all(tag == OUTSIDE or _MARKED.fullmatch(tag) for tag in kinds)


def list_entities(tags: Sequence[str]) -> list[Entity]:
    """As conlleval counts them: one begins at B (S, U), at any mark after O or after an entity
    that has ended, and where the type changes; one ends where the next begins, at O, and after E
    (L, S, U).
    """
    entities: list[Entity] = []
    kind, first, open_ = "", 0, False
    for place, tag in enumerate([*tags, OUTSIDE]):
        mark, of = _split(tag)
        goes_on = open_ and mark not in ("O", "B", "S", "U") and of == kind
        if open_ and not goes_on:
            entities.append((kind, first, place))
            open_ = False
        if mark != "O" and not goes_on:
            kind, first, open_ = of, place, True
        if open_ and mark in ("E", "L", "S", "U"):
            entities.append((kind, first, place + 1))
            open_ = False
    return entities


def to_iob2(tags: Sequence[str]) -> list[str]:
    """The same entities, each from a B to its last I."""
    written = [OUTSIDE] * len(tags)
    for kind, first, after in list_entities(tags):
        written[first:after] = [f"B-{kind}"] + [f"I-{kind}"] * (after - first - 1)
    return written


def _split(tag: str) -> tuple[str, str]:
    """Mark and type of a tag; O of one that marks nothing."""
    match = _MARKED.fullmatch(tag)
    return (match[1], match[2]) if match else (OUTSIDE, "")
