"""Elo ratings of players by all games between them, with intervals: the Bradley–Terry model's
maximum (Elo 1978; Hunter 2004).

P(i beats j) = 1 / (1 + 10^((R_j − R_i) / 400)); a draw is half a game won. A player who never lost
would have no rating, so every pair that has met is given one more draw (Coulom's Bayesian Elo does
the like), which draws ratings together a little where games are few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fledge.errors import UserError

SCALE = np.log(10) / 400  # natural units of a point of Elo
NORMAL_95 = 1.96
STEPS = 100  # of Newton's method; it takes some eight


@dataclass(frozen=True)
class Ratings:
    """In points, the first player having 0. margin: half of the 95 % interval of the difference to
    the first player.
    """

    elo: NDArray[np.float64]  # [P]
    margin: NDArray[np.float64]  # [P]


def rate_players(points: NDArray[np.float64]) -> Ratings:
    """points[i, j]: what i got from j, 1 a win and ½ a draw.  [P, P] -> [P]

    Raises UserError where a player has met nobody who is connected with the first.
    """
    met = (points + points.T) > 0
    won = points + met / 2  # one draw for each pair: half a point on either side
    reached = np.linalg.matrix_power(np.eye(len(points)) + met, len(points))[0] > 0
    if not reached.all():
        raise UserError(
            f"player {int(np.flatnonzero(~reached)[0])} has met nobody who has met the first: "
            "ratings compare those who are connected by games."
        )
    strength = np.zeros(len(points))
    free = slice(1, None)  # the first stays at 0
    for _ in range(STEPS):
        slope, curvature = differentiate(strength, won)
        step = np.linalg.solve(curvature[free, free], slope[free])
        # Far from the maximum Newton's step is too long.
        strength[free] += step * min(1.0, 2 / max(np.abs(step).max(), 1e-300))
        if np.abs(step).max() < 1e-12:
            break
    covariance = np.linalg.inv(differentiate(strength, won)[1][free, free])
    margin = NORMAL_95 * np.sqrt(np.concatenate([[0.0], np.diag(covariance)]))
    return Ratings(strength / SCALE, margin / SCALE)


def differentiate(
    strength: NDArray[np.float64], won: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slope and negative curvature of the log-likelihood.  [P], [P, P] -> [P], [P, P]"""
    games = won + won.T
    chance = 1 / (1 + np.exp(strength[None] - strength[:, None]))
    weight = games * chance * (1 - chance)
    return (won - games * chance).sum(1), np.diag(weight.sum(1)) - weight
