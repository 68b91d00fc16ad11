"""What a Python file of the user's answers in a conversation, and how many turns there are: looked
for in the file, and held to what they must be.

    TURNS: int                       the most turns of a conversation
    reply(prompt: str, said: list)   -> a string; or None where the conversation is over

Imports no numpy and no torch, as `own_judge` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.user_code import abbreviate, is_text

MOST_TURNS = 1000


def find_reply(path: Path, module: Mapping[str, Any]) -> tuple[Callable[..., Any] | None, int]:
    """The file's reply() and its TURNS; None and 1 where it has neither. Raises UserError for one
    without the other, and for what can be neither.
    """
    reply, turns = module.get("reply"), module.get("TURNS")
    if not callable(reply):
        if turns is None:
            return None, 1
        raise UserError(
            f"{path} has TURNS and no function reply(prompt, said): define one that returns what "
            "is answered to the last of `said`, or None where the conversation is over."
        )
    if isinstance(turns, bool) or not isinstance(turns, int) or not 2 <= turns <= MOST_TURNS:
        given = "no TURNS" if turns is None else f"TURNS = {abbreviate(turns)}"
        raise UserError(
            f"{path} has reply() and {given}: say how many turns a conversation has at most, a "
            f"whole number from 2 to {MOST_TURNS:,}, such as TURNS = 8."
        )
    return reply, turns


def read_reply(path: Path, value: Any, when: str) -> str | None:
    """What reply() returned. Raises UserError for what is neither a string nor None."""
    if value is None or is_text(value):
        return value
    raise UserError(
        f"{path}: reply() returned {abbreviate(value)} {when}: return a string, or None where the "
        "conversation is over."
    )


def say_when(prompt: str, said: Sequence[str]) -> str:
    """What was to be answered, for a sentence about it."""
    return f"to {abbreviate(said[-1])} on the prompt {abbreviate(prompt)}"
