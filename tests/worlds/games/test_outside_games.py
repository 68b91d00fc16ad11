"""Games of open_spiel and pettingzoo behind our rules are the same games as our own; what hides
something, or is not here, is refused in a sentence.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.plan.search.players import uct_player
from fledge.worlds.games.game import CHANCE
from fledge.worlds.games.make import is_game, make_game

# ours, theirs, which of their moves is ours
TWINS = [
    ("tictactoe", "spiel:tic_tac_toe", lambda move: move),
    ("connect4", "spiel:connect_four", lambda move: move),
    ("tictactoe", "pettingzoo:tictactoe_v3", lambda move: move % 3 * 3 + move // 3),
    ("connect4", "pettingzoo:connect_four_v3", lambda move: move),
]


def need(name: str) -> None:
    """Skips where the library, or what it draws with, is not here."""
    pytest.importorskip("pyspiel" if name.startswith("spiel") else "pettingzoo")
    if name.startswith("pettingzoo"):
        pytest.importorskip("pygame")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("own", "name", "translate"), TWINS, ids=[twin[1] for twin in TWINS])
def test_random_games_go_as_ours_do(own: str, name: str, translate) -> None:
    """20 games, seed fixed: whose turn, what is legal, when it is over, who has won, the board."""
    need(name)
    ours, theirs = make_game(own), make_game(name)
    draw = np.random.default_rng(3)
    ends = set()
    for _ in range(20):
        p, q = ours.begin(1), theirs.begin(1)
        while True:
            (over, value), (over_too, value_too) = ours.outcome(p), theirs.outcome(q)
            assert (over[0], value[0]) == (over_too[0], value_too[0])
            if over[0]:
                break
            legal = np.flatnonzero(ours.legal(p)[0])
            assert sorted(map(translate, legal)) == np.flatnonzero(theirs.legal(q)[0]).tolist()
            assert ours.turn(p)[0] == theirs.turn(q)[0]
            move = draw.choice(legal)
            p, q = ours.apply(p, np.array([move])), theirs.apply(q, np.array([translate(move)]))
            seen = theirs.observe(q)
            assert seen.shape == (1, theirs.planes, *theirs.board)
        ends.add(float(value[0]))
        stones = np.array(theirs.list_cells(q[0])).reshape(theirs.board)
        flip = stones.T if name == "pettingzoo:tictactoe_v3" else stones
        assert flip.flatten().tolist() == ours.list_cells(p[0])
    assert ends >= {1.0, -1.0}


def test_a_move_leaves_the_position_before_it_as_it_was() -> None:
    need("spiel")
    game = make_game("spiel:tic_tac_toe")
    start = game.begin(2)
    after = game.apply(start, np.array([4, 0]))
    assert game.legal(start).all()
    assert game.legal(after).sum(1).tolist() == [8, 8]
    assert game.list_cells(after[0])[4] == "x"
    assert game.turn_board(after, 0) is after


def test_a_search_of_ours_sees_a_win_in_a_game_of_theirs() -> None:
    """x x . / o o . / . . .: x takes the third of its row."""
    need("spiel")
    game = make_game("spiel:tic_tac_toe")
    position = game.begin(1)
    for move in (0, 3, 1, 4):
        position = game.apply(position, np.array([move]))
    player = uct_player(game, simulations=200, seed=1)
    assert player.think(position[0]).action == 2


def test_chance_has_its_turn_and_its_probabilities() -> None:
    need("spiel")
    game = make_game("spiel:pig(players=2,winscore=15)")
    rolled = game.apply(game.begin(1), np.array([0]))
    assert game.turn(rolled)[0] == CHANCE
    assert game.chance(rolled)[0] == pytest.approx(np.full(6, 1 / 6))
    assert not game.legal(rolled).any()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("kuhn", "`fledge solve kuhn` finds how to play it"),
        ("leduc", "`fledge solve leduc` finds how to play it"),
        ("spiel:kuhn_poker", "`fledge solve` with game= finds how to play it"),
        ("spiel:goofspiel", "`fledge solve` with game= finds how to play it"),
        ("spiel:tic_tac_to", "perhaps you meant spiel:tic_tac_toe"),
        ("pettingzoo:chess_v99", "pettingzoo has no game"),
        ("pettingzoo:os", "pettingzoo has no game"),
        ("pettingzoo:os.path", "cannot be used"),
    ],
)
def test_what_cannot_be_searched_is_refused(name: str, said: str) -> None:
    if ":" in name:
        pytest.importorskip("pyspiel" if name.startswith("spiel") else "pettingzoo")
    assert is_game(name)
    with pytest.raises(UserError, match=said):
        make_game(name)


@pytest.mark.parametrize("name", ["spiel:tic_tac_toe", "pettingzoo:tictactoe_v3"])
def test_without_the_library_it_is_said_how_to_have_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = "pyspiel" if name.startswith("spiel") else "pettingzoo"
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=r"pip install 'fledge\[games\]'"):
        make_game(name)
