"""A game with hidden information that is small enough to write all its walks down."""

from __future__ import annotations

import inspect


class TwoCoins:
    """A coin that only player 0 sees, 2/3 to 1/3; it says high or low; player 1 believes it or not,
    and after disbelief player 0 may give up. Not symmetric, and chance is uneven.
    """

    name = "two coins"

    def begin(self) -> str:
        return ""

    def turn(self, state: str) -> int:
        if not state:
            return -1
        if len(state) == 4 or state[2:] == "b":
            return -2
        return (len(state) - 1) % 2

    def chances(self, state: str) -> list[float]:
        return [2 / 3, 1 / 3]

    def actions(self, state: str) -> list[str]:
        return [["high", "low"], ["believe", "doubt"], ["give up", "show"]][len(state) - 1]

    def information(self, state: str) -> str:
        return state if self.turn(state) == 0 else state[1:]

    def after(self, state: str, number: int) -> str:
        return state + ["HT", "hl", "bd", "gs"][len(state)][number]

    def payoff(self, state: str) -> float:
        high = state[1] == "h"
        if state[2] == "b":
            return 1.0 if high else 0.25
        if state[3] == "g":
            return -0.5
        return 2.0 if (state[0] == "H") == high else -2.0


def as_source() -> str:
    """The same as the text of a file of the user's."""
    return inspect.getsource(TwoCoins)
