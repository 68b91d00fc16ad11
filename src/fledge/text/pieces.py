"""Cuts a text that is read chunk by chunk into pieces that encode one by one to what the whole
encodes to.

A piece ends where GPT-2's rule for words (`bpe.word_pattern`) starts a new word for certain: no
word holds a character that is no space and then a space, and none goes from a letter to a sign or a
digit, or from a digit to a letter or a sign. Only characters whose kind no version of Unicode has
changed count, so that the library's tables and Python's agree. The other way round, from a sign to
a letter, is not certain: 's is one word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

LONGEST_WORD = 1 << 16
"""Characters of the longest word: what goes on without such a place for longer is cut after as
many, wherever that is.
"""

_UNSURE = r"\x00-\x20\x7f-\xa0\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
_LETTER = (
    r"A-Za-z\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"  # with kana, Chinese and Korean
)
_SIGN = r"!-/:-@\[-`{-~\u3001\u3002\uff01\uff0c\uff1f"
_BREAK = re.compile(
    rf"(?<=[^{_UNSURE}])(?=[\t\n\r ])"
    rf"|(?<=[{_LETTER}])(?=[0-9{_SIGN}])|(?<=[0-9])(?=[{_LETTER}{_SIGN}])"
)


def cut_at_words(
    chunks: Iterable[str], size: int, longest_word: int = LONGEST_WORD
) -> Iterator[str]:
    """Pieces of at least `size` characters (but the last one) that joined are the chunks joined.

    Each is cut at the first certain place from `size` characters on, so the pieces do not depend on
    where the chunks ended. No piece has more than size + longest_word characters. An empty text is
    no piece.
    """
    waiting = ""
    for chunk in chunks:
        waiting += chunk
        start = 0
        while (cut := _next_cut(waiting, start, size, longest_word)) is not None:
            yield waiting[start:cut]
            start = cut
        waiting = waiting[start:]
    if waiting:
        yield waiting


def _next_cut(text: str, start: int, size: int, longest_word: int) -> int | None:
    """Where the piece that begins at `start` ends; None where that depends on characters still to
    come.
    """
    last = start + size + longest_word
    place = _BREAK.search(text, start + size, last)
    # At the end of what was read the look ahead sees nothing, and a later character may make a
    # place of it.
    if place is not None:
        return place.start()
    return last if len(text) > last else None
