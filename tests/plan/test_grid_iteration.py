"""Large maps: the stencil finds what tables find, its certificate holds, and its memory grows as
the map does.
"""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.errors import UserError
from fledge.plan import grid_iteration
from fledge.plan.grid_iteration import solve_gridworld
from fledge.worlds.gridworld import MOVES, Gridworld, read_gridworld


def random_map(
    height: int,
    width: int,
    walls: float,
    exits: int,
    slip: float,
    gamma: float,
    step: float,
    seed: int,
) -> Gridworld:
    draw = np.random.default_rng(seed)
    floor = draw.random((height, width)) >= walls
    out, worth = np.zeros((height, width), dtype=bool), np.zeros((height, width))
    for _ in range(exits):
        place = tuple(draw.integers((height, width)))
        floor[place] = out[place] = True
        worth[place] = draw.normal()
    free = tuple(draw.integers((height, width)))
    floor[free], out[free], worth[free] = True, False, 0.0
    start = floor & ~out
    floor, out, worth, start = map(torch.from_numpy, (floor, out, worth, start))
    return Gridworld(floor, out, worth, start, step, slip, gamma)


def by_loops(grid: Gridworld, sweeps: int) -> np.ndarray:
    """Value iteration as in the textbook, a place at a time, in plain Python.  -> [H, W]"""
    H, W = grid.floor.shape
    floor, exits, worth = grid.floor.tolist(), grid.exits.tolist(), grid.worth.tolist()
    value = [[0.0] * W for _ in range(H)]

    def after(i: int, j: int, a: int) -> float:
        u, v = i + MOVES[a % 4][0], j + MOVES[a % 4][1]
        if not (0 <= u < H and 0 <= v < W and floor[u][v]):
            u, v = i, j
        return worth[u][v] if exits[u][v] else grid.gamma * value[u][v]

    def best(i: int, j: int) -> float:
        sides = grid.slip / 2
        return max(
            grid.step_reward
            + (1 - grid.slip) * after(i, j, a)
            + sides * (after(i, j, a - 1) + after(i, j, a + 1))
            for a in range(4)
        )

    for _ in range(sweeps):
        value = [
            [best(i, j) if floor[i][j] and not exits[i][j] else 0.0 for j in range(W)]
            for i in range(H)
        ]
    return np.array(value)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    walls=st.sampled_from([0.0, 0.3, 0.6]),
    exits=st.integers(0, 3),
    slip=st.sampled_from([0.0, 0.2, 1.0]),
    gamma=st.sampled_from([0.0, 0.5, 0.9]),
    step=st.sampled_from([-0.3, 0.0, 0.1]),
    tile=st.sampled_from([1, 2, 64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_stencil_finds_what_plain_loops_find(
    height, width, walls, exits, slip, gamma, step, tile, seed
):
    """300 sweeps of plain loops at γ ≤ 0.9 leave an error of 0.9³⁰⁰ · 10 < 1e-12. Tiles of 1 and 2
    places have borders everywhere.
    """
    grid = random_map(height, width, walls, exits, slip, gamma, step, seed)
    expected = by_loops(grid, 300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_iteration, "TILE", tile)
        solution = solve_gridworld(grid, 1e-7)
    error = np.abs(solution.value.numpy() - expected).max()
    assert error <= solution.error_bound + 1e-12
    assert solution.error_bound <= 1e-7
    live = grid.floor & ~grid.exits
    assert bool(((solution.policy >= 0) == live).all())
    # The policy's own value is as good: one backup of its actions stays within what the error
    # allows.
    table = grid.mdp()
    q = table.reward + gamma * (table.rows @ torch.from_numpy(expected)[grid.floor]).view(4, -1).T
    own = q.gather(1, solution.policy[grid.floor].clamp(min=0)[:, None]).squeeze(1)
    assert float((q.amax(1) - own)[live[grid.floor]].max()) <= 4e-7


def test_many_tiles_in_both_directions():
    """A map of 300 × 421 with walls, against sweeps of the whole table in NumPy."""
    grid = random_map(300, 421, 0.2, 5, 0.2, 0.95, -0.04, 3)
    mdp = grid.mdp()
    value = torch.zeros(mdp.states, dtype=torch.float64)
    for _ in range(500):  # 0.95⁵⁰⁰ · 3 < 1e-10
        value = (mdp.reward + 0.95 * (mdp.rows @ value).view(4, -1).T).amax(1)
    solution = solve_gridworld(grid, 1e-8)
    error = float((solution.value - grid.on_map(value, 0.0)).abs().max())
    assert error <= solution.error_bound + 1e-9
    assert solution.error_bound <= 1e-8


def test_one_exit_without_slip_is_a_power_of_gamma():
    """V = γ^(d − 1) where the exit is d moves away; nothing else pays."""
    floor = torch.ones(250, 250, dtype=torch.bool)
    exits = torch.zeros_like(floor)
    exits[40, 200] = True
    grid = Gridworld(floor, exits, exits.double(), floor & ~exits, 0.0, 0.0, 0.99)
    i, j = torch.meshgrid(torch.arange(250), torch.arange(250), indexing="ij")
    away = (i - 40).abs() + (j - 200).abs()
    expected = torch.where(away > 0, 0.99 ** (away - 1).double(), 0.0)
    solution = solve_gridworld(grid, 1e-9)
    assert float((solution.value - expected).abs().max()) <= solution.error_bound <= 1e-9


def test_who_wants_no_exit_is_right_from_the_start():
    """A map with nothing to find: every step pays −1 for ever, and no sweep is needed but the one
    that sees it.
    """
    solution = solve_gridworld(
        read_gridworld(
            "....\n.#..\n...-", gamma=0.99, step_reward=-1.0, slip=0.0, exits={"-": -900.0}
        )
    )
    assert solution.sweeps <= 2
    live = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 0]], dtype=torch.bool)
    assert float((solution.value[live] + 100).abs().max()) < 1e-9


def test_memory_is_linear_in_the_places():
    """Bytes a place at the peak, on 200² and 400² places: the same to a fifth."""
    peaks = []
    for side in (200, 400):
        grid = random_map(side, side, 0.2, 3, 0.2, 0.9, -0.04, 1)
        tracemalloc.start()
        solve_gridworld(grid, 1e-3)
        peaks.append(tracemalloc.get_traced_memory()[1] / side**2)
        tracemalloc.stop()
    assert peaks[1] == pytest.approx(peaks[0], rel=0.2)
    assert peaks[1] < 250


def test_bad_input():
    with pytest.raises(UserError, match=r"gamma below 1.*value_iteration\(grid.mdp\(\)\)"):
        solve_gridworld(read_gridworld("..+"))
    grid = read_gridworld("..+", gamma=0.999, step_reward=-100.0)
    with pytest.raises(
        UserError, match=r"finer than float64 can tell of values up to 1e\+05"
    ) as raised:
        solve_gridworld(grid, 1e-8)
    advised = float(str(raised.value).split("give ")[1].split()[0])
    assert math.isfinite(advised)
    assert solve_gridworld(grid, advised).error_bound <= advised
