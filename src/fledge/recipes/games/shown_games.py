"""A game with what the player thought at every move: for the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from fledge.evaluate.arena import Dice
from fledge.plan.search.players import SearchPlayer
from fledge.worlds.games.game import Game, mover_sign


def play_shown(game: Game, player: SearchPlayer, seed: int, opening_moves: int) -> dict[str, Any]:
    """One game against itself, after `opening_moves` at random.

    -> {board, moves: [{cells, turn, action, cell, visits, action_values, value}], cells, result}
    with values as player 0 has them, and the visits of each cell's moves as shares.
    """
    dice = Dice(game, seed)
    position = dice.open_games(1, opening_moves)
    moves: list[dict[str, Any]] = []
    while not game.outcome(position)[0][0]:
        thoughts = player.think(position[0])
        turn = int(game.turn(position)[0])
        sign = float(mover_sign(game.turn(position))[0])
        visits = np.zeros(game.actions) if thoughts.visits is None else thoughts.visits
        moves.append(
            {
                "cells": game.list_cells(position[0]),
                "turn": turn,
                "action": game.name_move(thoughts.action),
                "cell": game.cell_of(thoughts.action),
                "names": [game.name_move(a) for a in range(game.actions)],
                "places": [game.cell_of(a) for a in range(game.actions)],
                "shares": [round(float(x), 4) for x in visits / max(visits.sum(), 1)],
                "value": round(sign * thoughts.value, 4),
            }
        )
        position = dice.throw(game.apply(position, np.array([thoughts.action])))
    return {
        "game": game.name,
        "board": list(game.board),
        "moves": moves,
        "cells": game.list_cells(position[0]),
        "result": float(game.outcome(position)[1][0]),
    }
