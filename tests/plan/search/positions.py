"""Positions of random games to search from."""

from __future__ import annotations

import random

import numpy as np

from fledge.worlds.games.game import CHANCE, Game


def draw_positions(game: Game, number: int, moves: int, seed: int) -> np.ndarray:
    """After so many moves at random; a player's turn, and not over.  -> [number, W]"""
    draw, drawn = random.Random(seed), []
    while len(drawn) < number:
        position = game.begin(1)
        for _ in range(moves):
            if game.outcome(position)[0][0]:
                break
            falls = game.turn(position)[0] == CHANCE
            open_now = game.chance(position)[0] > 0 if falls else game.legal(position)[0]
            action = draw.choice(np.flatnonzero(open_now).tolist())
            position = game.apply(position, np.array([action]))
        if not game.outcome(position)[0][0] and game.turn(position)[0] != CHANCE:
            drawn.append(position)
    return np.concatenate(drawn)
