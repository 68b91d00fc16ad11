"""Maps drawn in text: the process they make, checked place by place, and what is no map, named by
line and column.
"""

from __future__ import annotations

import pytest
import torch

from fledge.errors import UserError
from fledge.worlds.gridworld import ACTIONS, CLASSIC, Gridworld, read_gridworld


def test_the_classic_map():
    grid = read_gridworld(CLASSIC)
    assert grid.number.tolist() == [[0, 1, 2, 3], [4, -1, 5, 6], [7, 8, 9, 10]]
    assert grid.exits.nonzero().tolist() == [[0, 3], [1, 3]]
    assert grid.worth[0, 3] == 1
    assert grid.worth[1, 3] == -1
    mdp = grid.mdp()
    assert (mdp.states, mdp.actions, mdp.sparse) == (11, 4, True)
    assert mdp.start.nonzero().tolist() == [[7]]
    assert mdp.terminal.nonzero().flatten().tolist() == [3, 6]


def moves(grid: Gridworld, state: int, action: str) -> dict[int, float]:
    """What may follow, by state."""
    row = grid.mdp().dense()[ACTIONS.index(action), state]
    return {int(s): round(float(row[s]), 12) for s in row.nonzero()}


def test_moves_slip_to_the_sides_and_walls_send_back():
    grid = read_gridworld(CLASSIC)
    assert moves(grid, 7, "up") == {4: 0.8, 8: 0.1, 7: 0.1}  # the edge is to the left
    assert moves(grid, 7, "left") == {7: 0.9, 4: 0.1}  # the edge is ahead and below
    assert moves(grid, 7, "right") == {8: 0.8, 4: 0.1, 7: 0.1}
    assert moves(grid, 4, "right") == {4: 0.8, 0: 0.1, 7: 0.1}  # the wall is ahead
    assert moves(grid, 5, "right") == {6: 0.8, 2: 0.1, 9: 0.1}
    assert moves(grid, 5, "down") == {9: 0.8, 5: 0.1, 6: 0.1}  # the wall is to one side
    for action in ACTIONS:
        assert moves(grid, 3, action) == {3: 1.0}


def test_a_step_pays_and_an_exit_pays_besides():
    mdp = read_gridworld(CLASSIC, step_reward=-0.5).mdp()
    row, after, _ = mdp.entries()
    action, state = row // 11, row % 11
    expected = -0.5 + (after == 3).double() - (after == 6).double()
    torch.testing.assert_close(
        mdp.payments(), torch.where((state == 3) | (state == 6), 0.0, expected)
    )
    assert mdp.reward[5, ACTIONS.index("right")].item() == pytest.approx(-0.5 - 0.8)
    assert mdp.reward[2, ACTIONS.index("up")].item() == pytest.approx(-0.5 + 0.1)
    assert len(action) == len(mdp.payments())


@pytest.mark.parametrize(("slip", "expected"), [(0.0, {0: 1.0}), (1.0, {0: 0.5, 2: 0.5})])
def test_slip_at_its_ends(slip, expected):
    grid = read_gridworld("S.\n..", slip=slip, gamma=0.5)
    assert moves(grid, 0, "left") == expected


def test_signs_of_the_map():
    grid = read_gridworld("\n# 9G\n.-++\n\n", exits={"G": 10.0, "+": 0.5}, gamma=0.9)
    assert grid.floor.tolist() == [[False, True, True, True], [True] * 4]
    assert grid.worth.tolist() == [[0.0, 0.0, 9.0, 10.0], [0.0, -1.0, 0.5, 0.5]]
    # none drawn: anywhere on the floor
    assert grid.start.tolist() == [
        [False, True, False, False],
        [True, False, False, False],
    ]
    assert grid.mdp().start.tolist() == [0.5, 0, 0, 0.5, 0, 0, 0]


def test_by_state_and_on_the_map():
    grid = read_gridworld("S#\n.+")
    assert grid.on_map(torch.tensor([1.0, 2.0, 3.0]), -9.0).tolist() == [[1.0, -9.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("..+\n.x.", {}, r"line 2, column 2 of the map is 'x'"),
        ("\n..+\n.\t.", {}, r"line 3, column 2 of the map is '\\t'"),
        ("..+\n..", {}, "line 2 of the map has 2 columns, line 1 has 3"),
        ("\n \n", {}, "the map is empty"),
        ("##\n#+", {}, "no floor to stand on"),
        ("..+", {"slip": 1.2}, "slip is 1.2"),
        ("..+", {"slip": float("nan")}, "slip is nan"),
        ("..+", {"gamma": -0.1}, "gamma is -0.1"),
        ("..+", {"step_reward": float("inf")}, "must be finite"),
        ("..G", {"exits": {"G": float("nan")}}, "must be finite"),
        ("..G", {"exits": {"GG": 1.0}}, "an exit is drawn 'GG'"),
        ("..S", {"exits": {"S": 1.0}}, "an exit is drawn 'S'"),
    ],
)
def test_what_is_no_map_is_named(text, options, message):
    with pytest.raises(UserError, match=message):
        read_gridworld(text, **options)


def test_a_map_made_of_tables_is_checked_too():
    yes, no = torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.bool)
    with pytest.raises(UserError, match="nothing starts anywhere"):
        Gridworld(yes, no, torch.zeros(1, 2), no)
    first = torch.tensor([[True, False]])
    with pytest.raises(UserError, match="in a wall"):
        Gridworld(~first, no, torch.zeros(1, 2), first)
    with pytest.raises(UserError, match="in a wall"):
        Gridworld(yes, first, torch.zeros(1, 2), first)
    with pytest.raises(
        UserError, match=r"\[\(1, 2\), \(1, 2\), \(2, 1\), \(1, 2\)\]: give \[H, W\] each"
    ):
        Gridworld(yes, no, torch.zeros(2, 1), yes)
    with pytest.raises(UserError, match="bool but for the worth"):
        Gridworld(yes.float(), no, torch.zeros(1, 2), yes)
    assert Gridworld(yes, no, torch.zeros(1, 2), yes).worth.dtype == torch.float64
