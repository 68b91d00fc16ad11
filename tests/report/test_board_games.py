"""Boards in a run's report: every stone, every visit and the move that was played."""

from __future__ import annotations

import json
from pathlib import Path

from fledge.plan.search.models import KnownModel, evenly
from fledge.plan.search.players import SearchPlayer
from fledge.plan.search.searching import Search, SearchSettings
from fledge.recipes.games.shown_games import play_shown
from fledge.report.board_games import GAMES, read_games
from fledge.worlds.games.make import make_game


def test_a_page_shows_every_position_of_a_game(tmp_path: Path) -> None:
    for name in ("tictactoe", "connect4:5x4", "othello", "dice"):
        game = make_game(name)
        player = SearchPlayer(Search(KnownModel(game, evenly), SearchSettings(12)))
        played = play_shown(game, player, 1, opening_moves=1)
        (tmp_path / GAMES).write_text(json.dumps(played) + "\n")
        [shown] = read_games(tmp_path)
        assert len(shown.moves) == len(played["moves"]) + 1
        for move, said in zip(played["moves"], shown.moves, strict=False):
            stones = sum(1 for cell in move["cells"] if cell)
            assert said.svg.count('class="stone') == stones
            assert said.svg.count('class="ring"') == (move["cell"] is not None)
            assert move["action"] in said.caption
            assert abs(sum(move["shares"]) - 1) < 0.01
        ends = {1.0: "x won", 0.0: "a draw", -1.0: "o won"}[played["result"]]
        assert shown.moves[-1].caption == ends


def test_a_run_without_games_shows_none(tmp_path: Path) -> None:
    assert read_games(tmp_path) == []
