"""Known facts of two games that are solved by plain recursion."""

from __future__ import annotations

from fledge.exact.small_games import dice_value, list_tic_tac_toe, tic_tac_toe_value


def test_tic_tac_toe_is_a_draw_of_5478_boards() -> None:
    boards = list_tic_tac_toe()
    assert len(boards) == 5478
    assert tic_tac_toe_value("." * 9) == 0
    assert tic_tac_toe_value("x.x.o...o") == 1


def test_the_race_is_won_by_who_is_there() -> None:
    assert dice_value(11, 0) == 1  # one step is enough
    assert dice_value(0, 12) == -1
    assert dice_value(0, 10) == -1  # a throw cannot win, and then the other walks home
    assert abs(dice_value(8, 11) - (0.3 - 0.7)) < 1e-15  # only a six helps
    assert 0 < dice_value(0, 0) < 1
