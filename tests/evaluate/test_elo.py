"""Ratings: the closed form of two players, and the likelihood's own slope and curvature."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.evaluate.elo import rate_players


def log_likelihood(elo: list[float], points: np.ndarray) -> float:
    """With one draw more for each pair that has met, by the formula of Elo's curve."""
    total = 0.0
    for i in range(len(points)):
        for j in range(len(points)):
            if points[i, j] + points[j, i] > 0:
                chance = 1 / (1 + 10 ** ((elo[j] - elo[i]) / 400))
                total += (points[i, j] + 0.5) * math.log(chance)
    return total


def test_two_players_have_the_closed_form() -> None:
    rated = rate_players(np.array([[0, 9.5], [30.5, 0]]))
    share = 31 / 41
    assert rated.elo[0] == 0
    assert rated.margin[0] == 0
    assert rated.elo[1] == pytest.approx(400 * math.log10(share / (1 - share)), abs=1e-9)
    scale = math.log(10) / 400
    spread = 1 / math.sqrt(41 * share * (1 - share)) / scale
    assert rated.margin[1] == pytest.approx(1.96 * spread, rel=1e-9)


def test_more_players_stand_at_the_maximum_of_the_likelihood() -> None:
    points = np.array([[0, 3, 10, 0], [7, 0, 4.5, 2], [0, 5.5, 0, 6], [0, 8, 14, 0]])
    rated = rate_players(points)
    best = log_likelihood(rated.elo.tolist(), points)
    for player in range(1, 4):
        for step in (-2.0, 2.0):
            moved = rated.elo.copy()
            moved[player] += step
            assert log_likelihood(moved.tolist(), points) < best
    curvature, h = np.zeros((3, 3)), 0.5
    for i in range(3):
        for j in range(3):
            corners = 0.0
            for a in (-1, 1):
                for b in (-1, 1):
                    moved = rated.elo.copy()
                    moved[1 + i] += a * h
                    moved[1 + j] += b * h
                    corners += a * b * log_likelihood(moved.tolist(), points)
            curvature[i, j] = -corners / (4 * h * h)
    margins = 1.96 * np.sqrt(np.diag(np.linalg.inv(curvature)))
    np.testing.assert_allclose(rated.margin[1:], margins, rtol=1e-3)


def test_who_never_lost_has_a_rating_and_a_wide_interval() -> None:
    rated = rate_players(np.array([[0.0, 0.0], [40.0, 0.0]]))
    assert 500 < rated.elo[1] < 1000
    assert rated.margin[1] > 200


def test_whom_nobody_connects_is_told() -> None:
    points = np.zeros((3, 3))
    points[0, 1] = 5
    with pytest.raises(UserError, match="player 2 has met nobody who has met the first"):
        rate_players(points)
