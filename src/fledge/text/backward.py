"""Text that is read from its end: the tokens of every document in the other order, and what opens
one in the place of what closes it. By the chain rule its probability is as much the text's as the
other way round; its states know what follows (Peters et al. 2018, §3.1, eq. for the backward LM).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fledge.errors import UserError
from fledge.splits import Split
from fledge.text.shards import StreamPart, TokenStream
from fledge.text.tokenizer import Tokenizer


def turn_around(tokens: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """B x₁ … xₙ E B y₁ … yₘ E -> B yₘ … y₁ E B xₙ … x₁ E, of any part of it.  [T] -> [T]"""
    begin, end = _find_ends(tokenizer)
    turned = tokens[::-1].copy()
    opens, closes = turned == begin, turned == end
    turned[opens], turned[closes] = end, begin
    return turned


def _find_ends(tokenizer: Tokenizer) -> tuple[int, int]:
    """What opens and what closes a document. Raises UserError where one token does both."""
    if tokenizer.end is None or len(tokenizer.opening) != 1 or len(tokenizer.closing) != 1:
        raise UserError(
            "backward=true reads documents from their end, and this tokenizer has no token of its "
            "own that closes one: give another, as tokenizer=bpe makes."
        )
    return tokenizer.opening[0], tokenizer.closing[0]


class BackwardStream(TokenStream):
    """A token stream from its end to its beginning."""

    def __init__(self, folder: str | Path, split: Split, tokenizer: Tokenizer) -> None:
        """Raises UserError as `TokenStream` does, and for a tokenizer without both ends."""
        super().__init__(folder, split)
        self.tokenizer = tokenizer
        _find_ends(tokenizer)

    def of_sources(self) -> list[StreamPart]:
        """In the order of their names, each from its end."""
        n = len(self)
        parts = super().of_sources()
        return [StreamPart(self, n - part.stop, n - part.start) for part in parts]

    def __getitem__(self, span: slice) -> np.ndarray:
        start, stop, step = span.indices(len(self))
        n = len(self)
        own = super().__getitem__(slice(n - max(start, stop), n - start, step))
        return turn_around(own, self.tokenizer)
