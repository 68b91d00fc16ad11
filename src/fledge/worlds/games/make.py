"""Finds a game by its name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from fledge.errors import UserError
from fledge.next_command import write_command
from fledge.worlds.games.connect_four import ConnectFour
from fledge.worlds.games.dice_race import DiceRace
from fledge.worlds.games.game import Game
from fledge.worlds.games.othello import Othello
from fledge.worlds.games.tic_tac_toe import TicTacToe
from fledge.worlds.hidden_game import BUILT_IN

GAMES: dict[str, Callable[[], Game]] = {
    "tictactoe": TicTacToe,
    "connect4": ConnectFour,
    "othello": Othello,
    "dice": DiceRace,
}
OUTSIDE = ("connect4:", "spiel:", "pettingzoo:")
SIZED = re.compile(r"connect4:(\d+)x(\d+)")  # columns x rows


def is_game(name: str) -> bool:
    """Whether a word is meant as the name of one."""
    return name in GAMES or name in BUILT_IN or name.startswith(OUTSIDE)


def make_game(name: str) -> Game:
    """Raises UserError for a name that nobody has, with the nearest one, for a world, and for a
    board that is none.
    """
    if name in GAMES:
        return GAMES[name]()
    if sized := SIZED.fullmatch(name):
        return ConnectFour(int(sized[1]), int(sized[2]))
    if name.startswith("spiel:"):
        from fledge.worlds.games.spiel_board import SpielBoard

        return SpielBoard(name.removeprefix("spiel:"))
    if name.startswith("pettingzoo:"):
        from fledge.worlds.games.petting_board import PettingBoard

        return PettingBoard(name.removeprefix("pettingzoo:"))
    if name in BUILT_IN:
        raise UserError(
            f"{name} hides cards, and a search from one position would see them: "
            f"`{write_command('solve', name)}` finds how to play it, by regrets."
        )
    if re.search(r"-v\d+$|\.py:|^gridworld|^words", name):
        raise UserError(
            f"{name} is a world of one agent, and a search wants a game whose positions can be "
            f"copied: give one of {', '.join(GAMES)}. What learns in worlds is `fledge control`."
        )
    near = difflib.get_close_matches(name, GAMES, n=1)
    hint = f"perhaps you meant {near[0]}" if near else f"known are {', '.join(GAMES)}"
    raise UserError(f"there is no game {name!r}: {hint}, and connect4:COLUMNSxROWS, "
                    "spiel:NAME of open_spiel, pettingzoo:NAME of pettingzoo.")  # fmt: skip
