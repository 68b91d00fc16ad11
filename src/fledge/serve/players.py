"""Finished runs of `fledge selfplay` that play on the page: a game is the list of what was done in
it, nothing is kept between two requests, and so taking back is sending less.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from fledge.evaluate.arena import Dice
from fledge.plan.search.players import SearchPlayer, Thoughts
from fledge.recipes.games.building import load_game_player
from fledge.runs.folder import Run, is_run
from fledge.runs.lineage import is_of_a_run
from fledge.serve.api_errors import ApiError
from fledge.serve.wire import Body, Name
from fledge.worlds.games.connect_four import ConnectFour
from fledge.worlds.games.game import CHANCE, Game, Numbers
from fledge.worlds.games.make import make_game

MOST_SIMULATIONS = 2_000
MOST_MOVES = 1_000  # of a game that is sent


class GameBody(Body):
    """done: every move and throw so far, by its number. wants: what the player is to do: a move,
    its thoughts of this position, or nothing.
    """

    player: Name
    done: list[int] = Field(max_length=MOST_MOVES)
    wants: Literal["move", "thoughts", "nothing"] = "nothing"
    simulations: int = Field(default=400, ge=1, le=MOST_SIMULATIONS)


class ServedPlayer:
    """One search at a time: what it remembers of positions is its own."""

    def __init__(self, name: str, folder: Path) -> None:
        """Raises UserError for a run that holds no player."""
        self.name, self.folder = name, folder
        self.game = make_game(player_run(folder).config["game"])
        self._players: dict[int, SearchPlayer] = {}
        self._lock = threading.Lock()
        self._dice = Dice(self.game, seed=int(np.random.SeedSequence().generate_state(1)[0]))
        load_game_player(folder)  # what is wrong with it is said at the start

    def tell(self) -> dict[str, Any]:
        rows, columns = self.game.board
        return {"name": self.name, "game": self.game.name, "rows": rows, "columns": columns}

    def answer(self, body: GameBody) -> dict[str, Any]:
        """The position after what was done and what was wanted. Raises ApiError for what no game
        is.
        """
        with self._lock:
            done, position = self.replay(body.done)
            thoughts = None
            over = bool(self.game.outcome(position)[0][0])
            if body.wants != "nothing" and not over:
                thought = self.think(position, body.simulations)
                thoughts = describe(self.game, position, thought)
                if body.wants == "move":
                    done.append(thought.action)
                    after = self.game.apply(position, np.array([thought.action]))
                    position = self.throw(done, after)
            return self.draw(position, done) | {"thoughts": thoughts}

    def replay(self, done: Sequence[int]) -> tuple[list[int], Numbers]:
        """-> what was done, with the throws that follow, and the position [1, W]"""
        game, position, made = self.game, self.game.begin(1), list[int]()
        for action in done:
            over = bool(game.outcome(position)[0][0])
            falls = int(game.turn(position)[0]) == CHANCE
            options = game.chance(position)[0] > 0 if falls else game.legal(position)[0]
            if over or not 0 <= action < len(options) or not options[action]:
                where = "the game is over" if over else f"give one of {list_numbers(options)}"
                raise ApiError(
                    400, f"done[{len(made)}] is {action}, which cannot be done there: {where}.",
                    param="done",
                )  # fmt: skip
            made.append(action)
            position = game.apply(position, np.array([action]))
        return made, self.throw(made, position)

    def throw(self, done: list[int], position: Numbers) -> Numbers:
        """Dice fall until it is somebody's turn; what fell is added to what was done."""
        game = self.game
        while game.outcomes and not game.outcome(position)[0][0]:
            if int(game.turn(position)[0]) != CHANCE:
                break
            face = self._dice.pick(game.chance(position))
            done.append(int(face[0]))
            position = game.apply(position, face)
        return position

    def think(self, position: Numbers, simulations: int) -> Thoughts:
        if simulations not in self._players:
            self._players = {simulations: load_game_player(self.folder, simulations)}
        return self._players[simulations].think(position[0])

    def draw(self, position: Numbers, done: list[int]) -> dict[str, Any]:
        game = self.game
        over, worth = (part[0] for part in game.outcome(position))
        legal = [] if over else np.flatnonzero(game.legal(position)[0]).tolist()
        cells = game.list_cells(position[0])
        return {
            "done": done,
            "cells": cells,
            "turn": None if over else int(game.turn(position)[0]),
            "moves": [
                {"action": a, "name": game.name_move(a), "cells": list_places(game, cells, a)}
                for a in legal
            ],
            "result": float(worth) if over else None,  # what the one who began has got
        }


def list_numbers(options: Numbers) -> str:
    return ", ".join(map(str, np.flatnonzero(options)))


def list_places(game: Game, cells: Sequence[str], action: int) -> list[int]:
    """The empty cells of the board that stand for a move; where it is shown is the first of them.
    A column's are all that are empty: the stone falls to the lowest.
    """
    if isinstance(game, ConnectFour):
        column = range(action, len(cells), game.board[1])
        return [cell for cell in reversed(column) if not cells[cell]]
    cell = game.cell_of(action)
    return [] if cell is None else [cell]


def describe(game: Game, position: Numbers, thoughts: Thoughts) -> dict[str, Any]:
    """Share of the visits and value of each move, as the player whose turn it is sees them."""
    visits, values = thoughts.visits, thoughts.action_values
    assert visits is not None  # of a search there are
    cells = game.list_cells(position[0])
    tried = [int(a) for a in np.argsort(-visits, kind="stable") if visits[a] > 0]
    return {
        "turn": int(game.turn(position)[0]),
        "value": round(thoughts.value, 3),
        "action": thoughts.action,
        "moves": [
            {
                "action": a,
                "name": game.name_move(a),
                "cells": list_places(game, cells, a)[:1],
                "share": round(float(visits[a] / visits.sum()), 4),
                "value": round(float(values[a]), 3),
            }
            for a in tried
        ],
    }


def player_run(folder: Path) -> Run:
    return Run.open(folder.parent if is_of_a_run(folder) else folder)


def is_player(folder: Path) -> bool:
    """Whether it is a run of `fledge selfplay`, finished or not."""
    if not folder.is_dir():
        return False
    place = folder.parent if is_of_a_run(folder) else folder
    return is_run(place) and Run.open(place).verb == "selfplay"
