"""What is remembered of a position is what was said of it, until it is forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from fledge.plan.search import evaluation_cache
from fledge.plan.search.evaluation_cache import EvaluationCache
from fledge.worlds.games.make import make_game
from tests.plan.search.counting import Counting
from tests.plan.search.plain_search import Opinions
from tests.plan.search.positions import draw_positions


@pytest.mark.parametrize("places", [4, 1 << 12])
def test_what_is_remembered_is_what_was_said(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With four places nearly all of them are taken by others in between."""
    monkeypatch.setattr(evaluation_cache, "PLACES", places)
    game = make_game("connect4")
    positions = np.unique(draw_positions(game, 50, 6, seed=4), axis=0)
    counting = Counting(game)
    cache = EvaluationCache(counting, positions.shape[1], game.actions)
    plain = Opinions(game)(positions, game.legal(positions))
    draw = np.random.default_rng(5)
    for _ in range(6):
        some = draw.integers(len(positions), size=20)  # some of them twice
        said = cache(positions[some], game.legal(positions[some]))
        np.testing.assert_allclose(said[0], plain[0][some], rtol=1e-6)
        np.testing.assert_allclose(said[1], plain[1][some], rtol=1e-6)
    before = len(counting.asked)
    cache(positions, game.legal(positions))
    cache(positions, game.legal(positions))
    if places > 4:
        assert before < 120
        assert len(counting.asked) <= before + len(positions)


def test_after_forgetting_everything_is_asked_again() -> None:
    game = make_game("tictactoe")
    positions = np.unique(draw_positions(game, 10, 2, seed=6), axis=0)
    counting = Counting(game)
    cache = EvaluationCache(counting, positions.shape[1], game.actions)
    first = cache(positions, game.legal(positions))[1]
    counting.shift = 0.25  # the network has changed
    np.testing.assert_array_equal(cache(positions, game.legal(positions))[1], first)
    cache.forget()
    changed = cache(positions, game.legal(positions))[1]
    np.testing.assert_allclose(changed - first, 0.25, atol=1e-6)


def test_long_positions_have_fewer_places() -> None:
    """Chess of open_spiel's has 17,695 moves at the most, and 4,674 actions."""
    for width, actions, places in ((3, 7, 1 << 17), (100, 50, 1 << 16), (17_697, 4_674, 256)):
        cache = EvaluationCache(lambda positions, legal: (legal, legal[:, 0]), width, actions)
        assert cache.places == places
        assert cache.position.nbytes + cache.said.nbytes <= 1 << 26
