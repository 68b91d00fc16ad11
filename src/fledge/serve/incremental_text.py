"""Text out of tokens as they come: bytes wait until they are whole characters, and until they
cannot be the beginning of a stop string any more. Nothing is decoded twice.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """What may be shown now: text, and the places of the tokens that it comes from."""

    text: str
    tokens: range


class IncrementalText:
    """Of one row. vocabulary: the bytes of each token."""

    def __init__(self, vocabulary: Sequence[bytes], stop_strings: Sequence[str] = ()) -> None:
        self._vocabulary = vocabulary
        self._stops = [string.encode() for string in stop_strings]
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = b""  # not shown yet
        self._starts: list[int] = []  # of tokens not shown yet, in bytes of the row's text
        self._shown_bytes = 0
        self._shown_tokens = 0
        self._bytes = 0
        self.over = False  # a stop string has come: nothing more is shown

    def add(self, tokens: Sequence[int]) -> Piece:
        for token in tokens:
            word = self._vocabulary[token]
            self._starts.append(self._bytes)
            self._bytes += len(word)
            self._held += word
        return self._show(self._find_end())

    def finish(self) -> Piece:
        """What had been held back; of a character that was never completed, U+FFFD."""
        return self._show(0 if self.over else len(self._held), last=True)

    def _find_stop(self) -> int | None:
        """Where the stop string that begins earliest begins."""
        places = [self._held.find(stop) for stop in self._stops]
        return min((place for place in places if place >= 0), default=None)

    def _find_end(self) -> int:
        """How much of what is held back may be shown."""
        if self.over:
            return 0
        place = self._find_stop()
        if place is not None:
            self.over = True
            return place
        longest = max(map(len, self._stops), default=1) - 1
        for size in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return len(self._held) - size
        return len(self._held)

    def _show(self, end: int, last: bool = False) -> Piece:
        shown, self._held = self._held[:end], self._held[end:]
        self._shown_bytes += end
        text = self._characters.decode(shown, final=last)
        # A token is shown with its first byte, one without bytes with what stands before it.
        first, count = self._shown_tokens, 0
        for start in self._starts:
            if start > self._shown_bytes or (start == self._shown_bytes and self._held):
                break
            count += 1
        del self._starts[:count]
        self._shown_tokens += count
        return Piece(text, range(first, first + count))
