"""What is trained on, what steers, and what is read once at the end: one rule for every kind of
data.

Train is learned from. Validation steers: it stops early and ranks checkpoints. Test is read once,
when training is over, and its figure is the result. A thing's side depends on a hash of its content
alone, so it stays where it is when other things come or go, from seed to seed and from recipe to
recipe: a prompt that `tune` holds out is held out by `align` and by `prefer`. What the content is,
each kind of data says itself: a document's text; the prompt of a question, a conversation or a
pair, with which all answers to it go; the letters of a made word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
HeldOut = Literal["validation", "test"]
HELD_OUT: tuple[HeldOut, ...] = get_args(HeldOut)

FEWEST_TO_SPLIT = 20
"""Of fewer different things than this none is held out: one in twenty of them would be nothing, or
say nothing.
"""
FEW_HELD_OUT = 8
"""Of fewer than this a share says little: half of 8 is 16 to 84 % of all, with 95 % confidence."""


def split_of(content: str) -> Split:
    """The side of a content, by its sha256: 90% train, 5% validation, 5% test."""
    return split_of_digest(digest_of(content))


def split_of_digest(digest: bytes) -> Split:
    """The side of a content with this sha256, for one that is too long to be held."""
    place = _place(digest)
    if place < 0.9:
        return "train"
    return "validation" if place < 0.95 else "test"


def checked(split: str) -> Split:
    """The split of this name. Raises ValueError for another word, which must not quietly be trained
    on.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown: it is one of {', '.join(SPLITS)}.")
    return split


def prompt_key(prompt: str) -> str:
    """What `split_of` hashes of a prompt: neither its case nor blanks at its ends make it
    another.
    """
    return prompt.strip().casefold()


def divide(contents: Iterable[str]) -> dict[str, Split] | None:
    """The side of each different content; None where fewer than `FEWEST_TO_SPLIT` differ, and none
    can be held out.

    Where no hash falls into validation, or none into test, the highest of the others go there, so
    that no side is empty.
    """
    different = set(contents)
    if len(different) < FEWEST_TO_SPLIT:
        return None
    sides: dict[str, Split] = {content: split_of(content) for content in different}
    highest = sorted((content for content in different if sides[content] == "train"), key=place_of)
    for split in SPLITS[:0:-1]:
        if split not in sides.values():
            sides[highest.pop()] = split
    return sides


def say_few(source: str, held_out: Mapping[HeldOut, int]) -> str | None:
    """What a user should be told where a part is held out and small."""
    if not 0 < min(held_out.values()) < FEW_HELD_OUT:
        return None
    parts = " and ".join(f"{number} for {part}" for part, number in held_out.items())
    return (
        f"{source}: {parts} are held out, one in twenty each, and a figure of so few says little: "
        f"{20 * FEW_HELD_OUT} different prompts or more would be better."
    )


def place_of(content: str) -> float:
    """What decides, in [0, 1): which of two contents goes first where a side would stay empty."""
    return _place(digest_of(content))


def digest_of(content: str) -> bytes:
    """The sha256. A lone half of a surrogate pair, which UTF-8 cannot say, is hashed as it
    stands.
    """
    return hashlib.sha256(content.encode("utf-8", errors="surrogatepass")).digest()


def _place(digest: bytes) -> float:
    """In [0, 1)."""
    return int.from_bytes(digest[:8], "big") / 2**64
