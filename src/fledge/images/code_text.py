"""A picture among words: its codes as characters between two brackets, one character a code, so
that a tokenizer of characters makes each of them a token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fledge.errors import UserError

OPEN, CLOSE = "⟨", "⟩"
FIRST = 0x4E00  # CJK unified ideographs: letters that no prompt of ours is written in
MOST = 0x5200  # of them that are assigned, in a row


def check_codes(number: int) -> None:
    """Raises UserError for more codes than there are characters for them."""
    if number > MOST:
        raise UserError(
            f"the model has {number:,} codes, and there are {MOST:,} characters to write them "
            "with: train one with fewer."
        )


def spell_codes(codes: Sequence[int]) -> str:
    """The codes of one picture, row by row of the grid."""
    return OPEN + "".join(chr(FIRST + code) for code in codes) + CLOSE


def read_codes(text: str, places: int, number: int) -> list[int] | None:
    """Of the first picture in a text: so many places, each one of so many codes. None where there
    is no whole one.
    """
    last = chr(FIRST + number - 1)
    whole = re.search(f"{OPEN}([{chr(FIRST)}-{last}]{{{places}}}){CLOSE}", text)
    return None if whole is None else [ord(character) - FIRST for character in whole[1]]
