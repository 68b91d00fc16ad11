"""One row of a task's file: what is asked, and the one right answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledge.errors import UserError
from fledge.rows.census import Census
from fledge.rows.conversations import read_conversation


def read_question(row: Mapping[str, Any], where: str, census: Census) -> tuple[str, str]:
    """(prompt, answer) of a row of any shape that `read_conversation` reads, whose prompt is one
    turn of the user's.

    Raises UserError for a row of another shape, or with more turns than these two, and Unusable for
    an empty answer.
    """
    turns = read_conversation(row, where, census)
    if [turn["role"] for turn in turns] != ["user", "assistant"]:
        roles = ", ".join(turn["role"] for turn in turns)
        raise UserError(
            f"{where} has the turns {roles}, and a task asks one question: give one turn of the "
            "user's and one answer"
        )
    return turns[0]["content"], turns[1]["content"]
