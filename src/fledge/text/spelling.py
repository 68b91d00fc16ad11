"""A token as a person may read it: its text, its bytes where they are no whole characters, the name
of a special one.
"""

from __future__ import annotations

from fledge.text.tokenizer import Tokenizer

_SPECIAL = ("pad", "begin", "end", "system", "user", "assistant")


def spell_token(token: bytes) -> str:
    """A token's text, or its bytes in hexadecimal where they are not whole characters."""
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return f"bytes {token.hex(' ')}"


def mark_spaces(text: str) -> str:
    """Spaces as ␣ and line breaks as ⏎, where they would not be seen."""
    return text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def name_tokens(tokenizer: Tokenizer, rows: int) -> list[str]:
    """What each of a network's `rows` tokens is called in a picture, spaces seen."""
    special = {getattr(tokenizer, name, None): f"<{name}>" for name in _SPECIAL}
    names = []
    for number, token in enumerate(tokenizer.vocabulary):
        spelled = mark_spaces(spell_token(token))
        names.append(special.get(number, f"#{number}") if not token else spelled)
    return names + [f"#{number}" for number in range(len(names), rows)]
