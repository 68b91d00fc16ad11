"""Games of two in which something is hidden: what is asked of one, and the game of a name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fledge.errors import UserError
from fledge.user_code import call, load_module
from fledge.worlds.own import split_file_name
from fledge.worlds.poker import CHANCE, OVER, Kuhn, Leduc

__all__ = ["CHANCE", "OVER", "HiddenGame", "find_hidden_game"]


class HiddenGame(Protocol):
    """An extensive-form game of two players, 0 and 1; what one wins the other loses (Kuhn 1953).

    A state is a history, any object; it is never changed. Actions and outcomes of chance have
    numbers from 0 on. A player may not forget: from what it knows follows all that it knew and did.
    """

    name: str

    def begin(self) -> Any:
        """The state before anything has happened."""
        ...

    def turn(self, state: Any) -> int:
        """0 or 1: whose turn it is; CHANCE (−1); OVER (−2)."""
        ...

    def chances(self, state: Any) -> Sequence[float]:
        """Where it is chance's turn: the probability of each outcome."""
        ...

    def actions(self, state: Any) -> Sequence[str]:
        """Where it is a player's turn: what each action is called."""
        ...

    def information(self, state: Any) -> str:
        """All that the player whose turn it is knows; the same text for what it cannot tell
        apart.
        """
        ...

    def after(self, state: Any, number: int) -> Any:
        """The state after that action or outcome."""
        ...

    def payoff(self, state: Any) -> float:
        """Where it is over: what player 0 has won, in the game's own units."""
        ...


BUILT_IN: dict[str, Callable[[], HiddenGame]] = {"kuhn": Kuhn, "leduc": Leduc}


def find_hidden_game(name: str) -> HiddenGame:
    """kuhn, leduc, spiel:NAME of open_spiel, or ./mine.py:Game of your own.

    Raises UserError for a name that nobody has (with the nearest one), a missing extra, and a file
    that cannot be read or has no such game in it.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    family, colon, rest = name.partition(":")
    if colon and family == "spiel":
        from fledge.worlds.spiel import SpielGame

        return SpielGame(rest)
    own = split_file_name(name)
    if own is not None:
        return _load_own(name, *own)
    near = difflib.get_close_matches(name, BUILT_IN, n=1)
    hint = f"perhaps you meant {near[0]}" if near else "give one of these, or ./FILE.py:Game"
    raise UserError(f"there is no game {name!r} with hidden information: {hint}. Known: "
                    f"{', '.join(BUILT_IN)}, spiel:NAME of open_spiel.")  # fmt: skip


def _load_own(name: str, path: Any, wanted: str) -> HiddenGame:
    module = load_module(path)
    if not hasattr(module, wanted):
        raise UserError(f"{path} has nothing called `{wanted}`: give the name of a class in it.")
    game = call(path, wanted, getattr(module, wanted), "as it was made")
    asked = ("begin", "turn", "chances", "actions", "information", "after", "payoff")
    missing = [each for each in asked if not callable(getattr(game, each, None))]
    if missing:
        raise UserError(
            f"{name} has no `{missing[0]}`: a game with hidden information has {', '.join(asked)}."
        )
    if not hasattr(game, "name"):
        game.name = name
    return game
