"""Ratings of a run: from all its matches, and all of it state."""

from __future__ import annotations

import torch

from fledge.recipes.games.building import PlayerCard, build_network
from fledge.recipes.games.config import SelfplayConfig
from fledge.recipes.games.matches import Matches
from fledge.worlds.games.make import make_game

GAME = make_game("tictactoe")
CARD = PlayerCard(
    algorithm="alphazero", game="tictactoe", channels=4, blocks=1, latent=False, games=0
)


def make(seed: int) -> Matches:
    config = SelfplayConfig.read(
        {"game": "tictactoe", "match_games": 4, "match_simulations": 4, "rollouts": 3}
    )
    return Matches(config, GAME, build_network(GAME, CARD, seed), torch.device("cpu"))


def test_points_of_all_matches_add_up_and_a_saved_one_goes_on_alike() -> None:
    one, other = make(1), make(1)
    one.read("validation", 0)
    first = one.read("validation", 1)
    assert set(first) == {"match_score", "won", "lost", "score_earlier", "elo", "elo_margin"}
    # Two matches with UCT and one between them, of four games each.
    assert one.points.sum() == 12
    assert (one.points + one.points.T)[1, 2] == 4
    # The same network without chance, each opening from both sides: as good as itself.
    assert first["score_earlier"] == 0.5
    other.load_state_dict(one.state_dict())
    assert one.read("validation", 2) == other.read("validation", 2)
    tested = one.read("test", 0)
    assert set(tested) == {"match_score", "won", "lost"}
    assert one.points.sum() == 20  # as before: the test rates nobody
