"""The rows of search in games hold, and faults that are planted break theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fledge.plan.search import minimax, searching
from fledge.plan.search.connect_four_solver import ConnectFourSolver
from fledge.verify.search_rows import search_rows
from fledge.worlds.games.tic_tac_toe import TicTacToe


def broken() -> set[str]:
    return {row.id for row in search_rows() if not row.holds}


def test_every_row_holds() -> None:
    rows = search_rows()
    assert [row.id for row in rows] == [f"R14.{n}" for n in range(1, 7)]
    assert all(row.holds for row in rows), [row.statement for row in rows]


def test_a_line_that_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TicTacToe, "lines", TicTacToe.lines[:-1])
    assert "R14.1" in broken()


def test_chance_that_is_taken_for_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    true = minimax.back_up

    def back_up(game: Any, positions: Any, row: Any, after: Any, weight: Any) -> Any:
        return true(game, positions, row, after, np.where(weight < 1, weight * 1.01, weight))

    monkeypatch.setattr(minimax, "back_up", back_up)
    assert "R14.2" in broken()


def test_a_threat_that_is_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    true = ConnectFourSolver.threats
    monkeypatch.setattr(
        ConnectFourSolver, "threats", lambda self, stones, taken: true(self, stones, taken) & ~15
    )
    assert broken() == {"R14.3"}


def test_a_tree_in_which_both_want_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "mover_sign", lambda turn: np.array([1.0, 1.0, 0.0])[turn])
    assert {"R14.4", "R14.5"} <= broken()
