"""One memory, which texts can be one, which two are the same, and how strong one is.

A memory's retention is R = (1 + uses) · 2^(−Δt / half-life), Δt since it was last used or written
(after the forgetting curve of MemoryBank, Zhong et al. 2023, §2.3). Which of two R is smaller never
changes with time alone: log2 R without it, in seconds, is the `strength`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from fledge.errors import UserError

HALF_LIFE_S = 30 * 86_400.0
LONGEST = 20_000  # characters of a memory: what is longer is a document, to be cut before
FIELDS = "id, text, source, written, used, uses"  # of the table, as `Memory` has them


@dataclass(frozen=True)
class Memory:
    """source: whose word it is, such as "chat, 29 November 2026" or a file's name. written, used:
    seconds since 1970. uses: answers that it was shown for.
    """

    id: int
    text: str
    source: str
    written: float
    used: float
    uses: int


def find_strength(used: float, uses: int) -> float:
    """What of a memory's log2 R does not depend on when it is asked for, in seconds."""
    return used + HALF_LIFE_S * math.log2(1 + uses)


def clean_text(text: str) -> str:
    """Raises UserError for a text that can be no memory."""
    cleaned = text.strip()
    if not cleaned:
        raise UserError("an empty text was given to remember: give some words.")
    if len(cleaned) > LONGEST:
        raise UserError(
            f"a text of {len(cleaned):,} characters was given to remember, and a memory has up to "
            f"{LONGEST:,}: cut it into pieces that can be told one by one."
        )
    if "\x00" in cleaned or any("\ud800" <= letter <= "\udfff" for letter in cleaned):
        raise UserError("a text to remember holds bytes that are no text: give it as UTF-8.")
    return cleaned


def hash_text(text: str) -> int:
    """The same for texts that differ in letter case and white space alone. 63 bits: of a million
    memories two others collide with a chance of 5e-8.
    """
    plain = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=8).digest(), "big") >> 1
