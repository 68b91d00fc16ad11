"""Text that ends a row, found as its tokens come, wherever the borders of tokens fall."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.errors import UserError


class StopStrings:
    """Watches one row. Bytes are compared, so that a character cut in two by tokens is still
    found.
    """

    def __init__(self, strings: Sequence[str], vocabulary: Sequence[bytes]) -> None:
        self._strings = _encoded(strings)
        self._vocabulary = vocabulary
        # A stop string that is not complete yet is shorter than itself.
        self._keep = max(map(len, self._strings), default=1) - 1
        self._tail = b""
        self._matched = False

    def match(self, token: int) -> bool:
        """Takes the row's next token; whether the text said so far, with this one, contains a stop
        string.
        """
        text = self._tail + self._vocabulary[token]
        self._matched = self._matched or any(string in text for string in self._strings)
        self._tail = text[max(len(text) - self._keep, 0) :]
        return self._matched


def cut(text: bytes, strings: Sequence[str]) -> bytes:
    """The text before the stop string that begins earliest; all of it where there is none."""
    places = [text.find(string) for string in _encoded(strings)]
    return text[: min([place for place in places if place >= 0], default=len(text))]


def _encoded(strings: Sequence[str]) -> list[bytes]:
    try:
        return [string.encode() for string in strings]
    except UnicodeEncodeError as error:
        raise UserError(
            f"the stop string {error.object!r} holds half of a surrogate pair, which UTF-8 cannot "
            "write."
        ) from None
