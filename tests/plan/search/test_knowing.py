"""What an evaluator is not asked: wins at once are those of the rules, and what is remembered is
what was said, until it is forgotten.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fledge.plan.search import knowing
from fledge.plan.search.knowing import Remembering, WinsFirst
from fledge.worlds.games.game import SeesWins
from fledge.worlds.games.make import make_game
from tests.plan.search.plain_search import Opinions
from tests.plan.search.positions import draw_positions


class Counting:
    """Which positions were asked about; `shift` is added to what is said of their value."""

    def __init__(self, game: Any) -> None:
        self.opinions, self.asked, self.shift = Opinions(game), list[bytes](), 0.0

    def __call__(self, positions: Any, legal: Any) -> Any:
        self.asked += [row.tobytes() for row in positions]
        chance, value = self.opinions(positions, legal)
        return chance, value + self.shift


@pytest.mark.parametrize("name", ["tictactoe", "connect4", "connect4:5x4"])
def test_a_win_at_once_needs_no_opinion_and_other_positions_keep_theirs(name: str) -> None:
    game = make_game(name)
    assert isinstance(game, SeesWins)
    positions = draw_positions(game, 60, 5 if name == "tictactoe" else 9, seed=3)
    legal = game.legal(positions)
    counting = Counting(game)
    chance, value = WinsFirst(game, counting)(positions, legal)
    plain_chance, plain_value = Opinions(game)(positions, legal)
    wins = np.zeros(legal.shape, dtype=bool)  # by making every move
    for row, action in zip(*legal.nonzero(), strict=True):
        over, got = game.outcome(game.apply(positions[row : row + 1], np.array([action])))
        sign = 1 if game.turn(positions[row : row + 1])[0] == 0 else -1
        wins[row, action] = over[0] and got[0] == sign
    won = wins.any(1)
    assert 5 < won.sum() < 55
    assert counting.asked == [row.tobytes() for row in positions[~won]]
    np.testing.assert_array_equal(chance[~won], plain_chance[~won])
    np.testing.assert_array_equal(value[~won], plain_value[~won])
    assert (value[won] == 1).all()
    np.testing.assert_array_equal(chance[won] > 0, wins[won])
    np.testing.assert_allclose(chance[won].sum(1), 1)


def test_all_that_is_asked_wins_at_once() -> None:
    game = make_game("tictactoe")
    position = np.array([[0b000000011, 0b000011000, 0]])
    counting = Counting(game)
    chance, value = WinsFirst(game, counting)(position, game.legal(position))
    assert (chance[0].tolist(), value.tolist()) == ([0, 0, 1, 0, 0, 0, 0, 0, 0], [1])
    assert counting.asked == []


@pytest.mark.parametrize("places", [4, 1 << 12])
def test_what_is_remembered_is_what_was_said(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With four places nearly all of them are taken by others in between."""
    monkeypatch.setattr(knowing, "PLACES", places)
    game = make_game("connect4")
    positions = np.unique(draw_positions(game, 50, 6, seed=4), axis=0)
    counting = Counting(game)
    remembering = Remembering(counting, positions.shape[1], game.actions)
    plain = Opinions(game)(positions, game.legal(positions))
    draw = np.random.default_rng(5)
    for _ in range(6):
        some = draw.integers(len(positions), size=20)  # some of them twice
        said = remembering(positions[some], game.legal(positions[some]))
        np.testing.assert_allclose(said[0], plain[0][some], rtol=1e-6)
        np.testing.assert_allclose(said[1], plain[1][some], rtol=1e-6)
    if places > 4:
        before = len(counting.asked)
        remembering(positions[some], game.legal(positions[some]))
        assert len(counting.asked) == before < 120


def test_after_forgetting_everything_is_asked_again() -> None:
    game = make_game("tictactoe")
    positions = np.unique(draw_positions(game, 10, 2, seed=6), axis=0)
    counting = Counting(game)
    remembering = Remembering(counting, positions.shape[1], game.actions)
    first = remembering(positions, game.legal(positions))[1]
    counting.shift = 0.25  # the network has changed
    np.testing.assert_array_equal(remembering(positions, game.legal(positions))[1], first)
    remembering.forget()
    changed = remembering(positions, game.legal(positions))[1]
    np.testing.assert_allclose(changed - first, 0.25, atol=1e-6)
