"""Documents of words drawn by lot: two of them have next to no run of words in common."""

from __future__ import annotations

import random


def write_text(seed: int, words: int = 300) -> str:
    lot = random.Random(seed)
    return " ".join(
        "".join(lot.choices("abcdefghijklmnop", k=lot.randint(2, 7))) for _ in range(words)
    )
