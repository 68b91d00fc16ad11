"""Value iteration on a gridworld of 1000 × 1000 places, γ = 0.99, to 1e-6: our stencil against
quantecon's DiscreteDP.

Two maps, both with slip 0.2: `open` has no wall and one exit, in a corner, and nothing else pays;
`walls` has a fifth of its places walled, five exits and −0.04 a step. quantecon gets the process as
sparse state-action pairs (SciPy CSR), its quickest form, built by NumPy alone and not timed;
`method="value_iteration"` stops when its value is within ε/2 = 1e-6. Ours is timed from the map to
the certified answer. Both use one thread. The answers must agree within the sum of both tolerances.

Besides: a sweep over the tables (`optimal_backup` against `bellman_operator`), and the memory a
    place takes at the peak.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import torch

from fledge.plan.bellman import optimal_backup
from fledge.plan.grid_iteration import GridSolution, solve_gridworld
from fledge.worlds.gridworld import Gridworld
from side_by_side import Times, alternate, finish, options, say, speed_up, table

GAMMA, SLIP, TOLERANCE = 0.99, 0.2, 1e-6
TARGET = "≥ 8"


def maps(side: int) -> dict[str, Gridworld]:
    draw = np.random.default_rng(0)
    open_floor, corner = np.ones((side, side), dtype=bool), np.zeros((side, side))
    corner[0, 0] = 1.0
    walled, worth = draw.random((side, side)) >= 0.2, np.zeros((side, side))
    for pays in (1.0, 1.0, 1.0, 1.0, -1.0):
        place = tuple(draw.integers(side, size=2))
        walled[place], worth[place] = True, pays
    return {
        "open": _grid(open_floor, corner, 0.0),
        "walls": _grid(walled, worth, -0.04),
    }


def _grid(floor: np.ndarray, worth: np.ndarray, step_reward: float) -> Gridworld:
    exits = worth != 0
    given = map(torch.from_numpy, (floor, exits, worth, floor & ~exits))
    return Gridworld(*given, step_reward=step_reward, slip=SLIP, gamma=GAMMA)


def theirs(grid: Gridworld) -> Any:
    """The process as quantecon likes it best, made without our tables."""
    import scipy.sparse
    from quantecon.markov import DiscreteDP

    floor, exits, worth = grid.floor.numpy(), grid.exits.numpy(), grid.worth.numpy()
    H, W = floor.shape
    number = np.full((H + 2, W + 2), -1)
    number[1:-1, 1:-1][floor] = np.arange(floor.sum())
    own, ended, pays = number[1:-1, 1:-1][floor], exits[floor], worth[floor]
    there = [
        number[1 + i : 1 + i + H, 1 + j : 1 + j + W][floor]
        for i, j in ((-1, 0), (0, 1), (1, 0), (0, -1))
    ]
    there = [np.where(x < 0, own, x) for x in there]
    S = len(own)
    after = np.empty((S, 4, 3), dtype=np.int32)
    for a in range(4):
        for k, turn in enumerate((0, 1, -1)):
            after[:, a, k] = np.where(ended, own, there[(a + turn) % 4])
    chance = np.broadcast_to([1 - SLIP, SLIP / 2, SLIP / 2], after.shape)
    reward = np.where(ended[:, None], 0.0, grid.step_reward + (chance * pays[after]).sum(-1))
    begins = np.arange(0, 12 * S + 1, 3, dtype=np.int32)
    Q = scipy.sparse.csr_matrix((chance.reshape(-1), after.reshape(-1), begins), shape=(4 * S, S))
    process = DiscreteDP(
        reward.reshape(-1), Q, GAMMA, np.repeat(np.arange(S), 4), np.tile(np.arange(4), S)
    )
    process.bellman_operator(np.zeros(S))  # compiles what it compiles
    return process


def compare(name: str, grid: Gridworld, rounds: int) -> tuple[Times, dict[str, Any]]:
    """Seconds of both sides in each round, and what they did."""
    say(f"{name}: building quantecon's tables …")
    process = theirs(grid)
    torch.set_num_threads(1)  # quantecon's imports set it anew
    answers: dict[str, Any] = {}

    def ours() -> None:
        answers["ours"] = solve_gridworld(grid, TOLERANCE)

    def quantecon() -> None:
        answers["quantecon"] = process.solve(
            method="value_iteration", epsilon=2 * TOLERANCE, max_iter=100_000
        )

    times = alternate({"ours": ours, "quantecon": quantecon}, rounds, warm=0)
    mine: GridSolution = answers["ours"]
    live = (grid.floor & ~grid.exits).numpy()
    away = np.abs(mine.value.numpy()[live] - answers["quantecon"].v[live[grid.floor.numpy()]]).max()
    assert away <= mine.error_bound + TOLERANCE, f"the answers differ by {away}"
    tracemalloc.start()
    solve_gridworld(grid, TOLERANCE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    say(f"{name}: sweeps over the tables …")
    mdp = grid.mdp()
    value = torch.zeros(mdp.states, dtype=torch.float64)
    sweep = alternate(
        {
            "ours": lambda: optimal_backup(mdp, value),
            "quantecon": lambda: process.bellman_operator(value.numpy()),
        },
        3 * rounds,
    )
    return times, {
        "seconds": times,
        "sweeps": {"ours": mine.sweeps, "quantecon": float(answers["quantecon"].num_iter)},
        "error_bound": mine.error_bound,
        "largest_difference": float(away),
        "bytes_a_place": peak / grid.floor.numel(),
        "seconds_a_sweep_over_tables": sweep,
    }


def main() -> None:
    given = options(
        __doc__, rounds="rounds of each map, 3 unless given", map="one of the two: open or walls"
    )
    side, rounds = (60, 1) if given.quick else (1000, int(given.rounds or 3))
    ratios, figures, rows = {}, {}, []
    for name, grid in maps(side).items():
        if given.map not in (None, name):
            continue
        times, compared = compare(name, grid, rounds)
        figures[name] = compared
        tables = compared["seconds_a_sweep_over_tables"]
        ratios[f"{name}: ours / quantecon"] = speed_up(times, "ours", "quantecon")
        ratios[f"{name}, a sweep over tables: ours / quantecon"] = speed_up(
            tables, "ours", "quantecon"
        )
        for who in ("ours", "quantecon"):
            seconds = sorted(times[who])
            rows.append(
                (
                    f"{name}, {who}",
                    f"{seconds[len(seconds) // 2]:.2f}",
                    f"{compared['sweeps'][who]:,.0f}",
                    f"{1000 * min(tables[who]):.1f}",
                )
            )
        rows.append((f"{name}, ours: error at most", f"{compared['error_bound']:.1e}", "", ""))
        rows.append((f"{name}, ours: bytes a place", f"{compared['bytes_a_place']:.0f}", "", ""))
    text = table((f"{side} × {side}", "seconds", "sweeps", "ms a sweep over tables"), rows)
    targets = {key: TARGET for key in ratios if "tables" not in key}
    finish(given.json, text, ratios, figures, targets)


if __name__ == "__main__":
    main()
