"""Matches: seats, openings and results, with players whose games are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from fledge.evaluate.arena import Dice, Match, play_match
from fledge.plan.search.players import MinimaxPlayer, RandomPlayer
from fledge.worlds.games.make import make_game
from tests.worlds.games.plain_rules import PlainRules


class Ordered:
    """The first legal move, or the last; keeps what it was asked."""

    def __init__(self, game: Any, last: bool = False) -> None:
        self.game, self.last = game, last
        self.asked: list[Any] = []

    def play(self, positions: Any) -> Any:
        self.asked.append(positions)
        legal = self.game.legal(positions)
        return legal.shape[1] - 1 - legal[:, ::-1].argmax(1) if self.last else legal.argmax(1)


def play_by_plain_rules(name: str, opening: list[int], one_begins: bool) -> int:
    """What `one`, who takes the first move, gets against the last move."""
    rules = PlainRules(name)
    for move in opening:
        rules.play(move)
    mine = one_begins
    while rules.result() is None:
        rules.play(rules.moves()[0] if mine else rules.moves()[-1])
        mine = not mine
    result, mover = rules.result(), "x" if len(opening) % 2 == 0 else "o"
    assert result is not None
    i_am_x = (mover == "x") == one_begins
    return result if i_am_x else -result


def test_results_are_those_of_the_plain_rules_from_both_sides() -> None:
    game = make_game("connect4")
    match = play_match(game, Ordered(game), Ordered(game, last=True), 2, seed=1, opening_moves=0)
    expected = [play_by_plain_rules("connect4", [], begins) for begins in (True, False)]
    assert match.results.tolist() == expected


def test_players_who_change_places_change_the_results() -> None:
    game = make_game("othello")
    one, other = Ordered(game), Ordered(game, last=True)
    straight = play_match(game, one, other, 20, seed=2).results
    turned = play_match(game, other, one, 20, seed=2).results
    np.testing.assert_array_equal(straight.reshape(-1, 2), -turned.reshape(-1, 2)[:, ::-1])
    assert len(set(straight.tolist())) > 1


def test_whoever_plays_himself_scores_half() -> None:
    game = make_game("connect4")
    match = play_match(game, Ordered(game), Ordered(game), 30, seed=3)
    assert match.score == 0.5


def test_openings_differ_and_are_played_twice() -> None:
    game = make_game("connect4")
    positions = Dice(game, 4).open_games(40, 3)
    assert (game.turn(positions) == 1).all()
    assert len(np.unique(positions, axis=0)) > 20
    one, other = Ordered(game), Ordered(game, last=True)
    play_match(game, one, other, 10, seed=4, opening_moves=3)
    assert {tuple(p) for p in one.asked[0]} == {tuple(p) for p in other.asked[0]}


def test_minimax_never_loses_tic_tac_toe_and_beats_chance() -> None:
    game = make_game("tictactoe")
    match = play_match(game, MinimaxPlayer(game, 9), RandomPlayer(game, 1), 20, seed=5,
                       opening_moves=0)  # fmt: skip
    assert match.lost == 0
    assert match.won > 0.5


def test_dice_fall_in_matches_too() -> None:
    game = make_game("dice")
    match = play_match(game, RandomPlayer(game, 1), RandomPlayer(game, 2), 40, seed=6)
    assert set(match.results.tolist()) == {1.0, -1.0}


def test_a_match_says_its_shares() -> None:
    match = Match(np.array([1.0, 1.0, 0.0, -1.0]))
    assert (match.won, match.drawn, match.lost, match.score) == (0.5, 0.25, 0.25, 0.625)
    low, high = match.interval
    assert low < 0.625 < high
