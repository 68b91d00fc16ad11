"""Games with hidden information by their names: poker's rules, open_spiel's games, one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.worlds.hidden_games import as_source

from fledge.errors import UserError
from fledge.worlds.hidden_game import find_hidden_game
from fledge.worlds.poker import Kuhn, Leduc


def play(game: Any, *moves: int) -> Any:
    state = game.begin()
    for move in moves:
        state = game.after(state, move)
    return state


@pytest.mark.parametrize(
    ("moves", "payoff"),
    [
        ((0, 0, 0, 0), -1),  # J against Q, pass, pass
        ((2, 0, 0, 0), 1),  # K against J, pass, pass
        ((0, 1, 1, 0), 1),  # J bets, K folds
        ((2, 1, 1, 1), 2),  # K bets, Q calls
        ((1, 0, 0, 1, 0), -1),  # Q passes, J bets, Q folds
        ((0, 1, 0, 1, 1), -2),  # J passes, K bets, J calls
    ],
)
def test_kuhn_pays_as_its_rules_say(moves: tuple[int, ...], payoff: float) -> None:
    state = play(Kuhn(), *moves)
    assert Kuhn().turn(state) == -2
    assert Kuhn().payoff(state) == payoff


def test_leduc_pays_what_was_put_in() -> None:
    game = Leduc()
    # J against K; check, raise (2), call; K comes; check, raise (4), raise (4), call
    state = play(game, 0, 4 - 1, 0, 1, 1)
    assert game.turn(state) == -1
    state = game.after(state, 3)  # of the cards left the fourth: the other K
    assert game.actions(state) == ["check", "raise"]
    for move in (0, 1, 2, 1):
        state = game.after(state, move)
    assert game.turn(state) == -2
    assert game.payoff(state) == -(1 + 2 + 8)
    folded = play(game, 0, 3, 1, 2, 0)  # raise, raise, fold: the first has put in 3
    assert game.payoff(folded) == -3
    assert game.payoff(play(game, 0, 0, 0, 0, 2, 0, 0)) == 0  # J against J


def test_a_player_knows_its_own_card_and_what_was_said() -> None:
    game = Leduc()
    state = play(game, 0, 3, 0, 1, 1, 2)
    assert game.information(state) == "JQ crc/"
    assert game.information(game.after(state, 0)) == "KQ crc/c"
    assert Kuhn().information(play(Kuhn(), 1, 1, 1)) == "K b"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("khun", "perhaps you meant kuhn"),
        ("chess", "there is no game 'chess' with hidden information"),
        ("./none.py:Game", "there is no task file none.py"),
    ],
)
def test_a_name_that_nobody_has_is_refused(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        find_hidden_game(name)


def test_a_game_of_ones_own_is_found_in_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import inspect\n" + as_source() + "\n\nclass Half:\n    pass\n")
    game = find_hidden_game(f"{file}:TwoCoins")
    assert game.chances(game.begin()) == [2 / 3, 1 / 3]
    with pytest.raises(UserError, match="has no `begin`"):
        find_hidden_game(f"{file}:Half")
    with pytest.raises(UserError, match="has nothing called `Other`"):
        find_hidden_game(f"{file}:Other")


def test_without_open_spiel_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(UserError, match=r"pip install 'fledge\[games\]'"):
        find_hidden_game("spiel:leduc_poker")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("leduc_pokr", "perhaps you meant spiel:leduc_poker"),
        ("leduc_poker(foo=3)", "cannot make"),
        ("leduc_poker(players=3)", "has 3 players"),
        ("bargaining", "need not lose"),
    ],
)
def test_a_game_of_open_spiel_that_cannot_be_solved_is_refused(name: str, said: str) -> None:
    pytest.importorskip("pyspiel")
    with pytest.raises(UserError, match=said):
        find_hidden_game(f"spiel:{name}")


def test_simultaneous_moves_become_turns_that_do_not_see_each_other() -> None:
    """Matching pennies: the second player's one information set stands after both moves."""
    pytest.importorskip("pyspiel")
    game = find_hidden_game("spiel:matrix_mp")
    state = game.begin()
    known = {game.information(game.after(state, move)) for move in (0, 1)}
    assert len(known) == 1
    both = [game.payoff(game.after(game.after(state, a), b)) for a in (0, 1) for b in (0, 1)]
    assert sorted(both) == [-1, -1, 1, 1]
