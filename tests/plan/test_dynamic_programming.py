"""All exact methods find what trying every policy finds; the classic gridworld has its known
policies; what has no value says so.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.errors import UserError
from fledge.plan.bellman import Approach, action_values
from fledge.plan.dynamic_programming import (
    gauss_seidel,
    prioritised_sweeping,
    q_value_iteration,
    value_iteration,
)
from fledge.plan.policy_iteration import policy_iteration, policy_value
from fledge.worlds.gridworld import ACTIONS, CLASSIC, read_gridworld
from fledge.worlds.mdp import MDP
from tests.plan.processes import best_values, random_process, sparse

BY_SWEEPS = [value_iteration, q_value_iteration, gauss_seidel, prioritised_sweeping]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    states=st.integers(2, 5),
    actions=st.integers(1, 3),
    gamma=st.sampled_from([0.0, 0.5, 0.9, 0.97, 1.0]),
    ends=st.integers(0, 1),
    share=st.sampled_from([0.3, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_method_finds_the_best_of_all_policies(states, actions, gamma, ends, share, seed):
    """To 1e-8 of the largest value or of 1. The bound that each states holds."""
    mdp = random_process(states, actions, gamma, 1 if gamma == 1 else ends, share, seed)
    best = torch.from_numpy(best_values(mdp))
    room = 1e-8 * max(1.0, float(best.abs().max()))
    for process in (mdp, sparse(mdp)):
        solutions = {method.__name__: method(process, tolerance=room / 2) for method in BY_SWEEPS}
        solutions["policy_iteration"] = policy_iteration(process)
        for name, solution in solutions.items():
            error = float((solution.value - best).abs().max())
            assert error <= room, name
            assert error <= solution.error_bound, name
            own = action_values(mdp, best).gather(1, solution.policy[:, None]).squeeze(1)
            # what it would do is best, or as good as
            assert float((best - own).abs().max()) <= 4 * room, name


@functools.cache
def classic_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The classic map worked out without fledge, every one of the 4^9 policies at once, γ = 1.

    -> policies [N, 9], which end from everywhere; expected steps [N, 9]; expected exit reward [N,
    9]; the places (row, column) [9, 2]
    """
    exits = {(0, 3): 1.0, (1, 3): -1.0}
    places = [
        (i, j) for i in range(3) for j in range(4) if (i, j) != (1, 1) and (i, j) not in exits
    ]
    chance, paid = np.zeros((9, 4, 9)), np.zeros((9, 4))
    ways = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}
    for s, (i, j) in enumerate(places):
        for a, name in enumerate(ACTIONS):
            di, dj = ways[name]
            for p, (u, v) in ((0.8, (di, dj)), (0.1, (dj, di)), (0.1, (-dj, -di))):
                there = (i + u, j + v)
                if there in exits:
                    paid[s, a] += p * exits[there]
                else:
                    chance[s, a, places.index(there) if there in places else s] += p
    policies = np.stack(np.meshgrid(*[np.arange(4, dtype=np.int8)] * 9, indexing="ij"), -1).reshape(
        -1, 9
    )
    kept, steps, rewards = [], [], []
    for part in np.array_split(policies, 32):
        P, R = chance[np.arange(9), part], paid[np.arange(9), part]
        ends = 1 - P.sum(-1) > 1e-9  # in one step, with some chance
        for _ in range(9):
            ends |= ((P > 0) & ends[:, None, :]).any(-1)
        proper = ends.all(-1)
        both = np.stack([np.ones_like(R[proper]), R[proper]], -1)
        solved = np.linalg.solve(np.eye(9) - P[proper], both)
        kept.append(part[proper])
        steps.append(solved[..., 0])
        rewards.append(solved[..., 1])
    return np.concatenate(kept), np.concatenate(steps), np.concatenate(rewards), np.array(places)


# Rows from the top; × exits, # the wall. −2: by the nearest exit, even −1. −1 and −0.5: round to +1
# from wherever +1 is not much farther; beside −1, in the corner, still into it. −0.04: always round
# to +1, as in Russell & Norvig 2010, figures 17.2a and 17.3.
KNOWN = {
    -2.0: ["→→→×", "↑#→×", "→→→↑"],
    -1.0: ["→→→×", "↑#↑×", "→→↑↑"],
    -0.5: ["→→→×", "↑#↑×", "↑→↑↑"],
    -0.04: ["→→→×", "↑#↑×", "↑←←←"],
}


@pytest.mark.parametrize("step_reward", KNOWN)
def test_the_known_policies_of_the_classic_map(step_reward):
    """Three ways to the same arrows: written down, by trying all policies, and by every exact
    method.
    """
    policies, steps, rewards, places = classic_tables()
    values = step_reward * steps + rewards  # [N, 9]
    best = values.max(0)
    attained = (values >= best - 1e-9).all(-1)
    assert attained.sum() == 1  # no ties
    arrows = [list(row) for row in ["...×", ".#.×", "...."]]
    for (i, j), a in zip(places, policies[attained][0], strict=True):
        arrows[i][j] = "↑→↓←"[a]
    assert ["".join(row) for row in arrows] == KNOWN[step_reward]

    grid = read_gridworld(CLASSIC, step_reward=step_reward)
    where = tuple(places.T)
    for method in [*BY_SWEEPS, policy_iteration]:
        solution = method(grid.mdp())
        on_map = grid.on_map(solution.value, 0.0).numpy()
        assert np.abs(on_map[where] - best).max() < 1e-8, method.__name__
        assert (grid.on_map(solution.policy, -1).numpy()[where] == policies[attained][0]).all(), (
            method.__name__
        )


def test_the_published_values():
    """Russell & Norvig 2010, figure 17.3: three digits."""
    grid = read_gridworld(CLASSIC, step_reward=-0.04)
    published = [[0.812, 0.868, 0.918, 0], [0.762, 0, 0.660, 0], [0.705, 0.655, 0.611, 0.388]]
    value = grid.on_map(value_iteration(grid.mdp()).value, 0.0)
    assert float((value - torch.tensor(published)).abs().max()) < 5.1e-4


def test_prioritised_sweeping_looks_where_something_changes():
    """A long corridor with one exit: sweeps in turn take as many passes as it is long, the most
    urgent state first one pass.
    """
    mdp = read_gridworld("." * 99 + "+", slip=0.0, gamma=0.99, step_reward=0.0).mdp()
    assert value_iteration(mdp).sweeps >= 99
    urgent = prioritised_sweeping(mdp)
    assert urgent.sweeps < 1.01
    expected = 0.99 ** torch.arange(98, -1, -1, dtype=torch.float64)
    assert float((urgent.value[:-1] - expected).abs().max()) < 1e-12


def chain(pay: float, gamma: float) -> MDP:
    """0 stays or goes to the end; every step from 0 pays `pay`."""
    table = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    reward = torch.tensor([[pay, pay], [0.0, 0.0]])
    return MDP(table, reward, gamma, terminal=torch.tensor([False, True]))


@pytest.mark.parametrize("method", BY_SWEEPS)
def test_what_has_no_value_or_no_such_digits_says_so(method):
    assert method(chain(-1.0, 1.0)).value.tolist() == [-1.0, 0.0]
    with pytest.raises(
        UserError, match=r"at gamma = 1 values still change by 1: .*no loop may pay"
    ):
        method(chain(1.0, 1.0))
    assert float(method(chain(1e9, 0.9), tolerance=1e-3).value[0]) == pytest.approx(1e10, abs=1e-3)
    with pytest.raises(UserError, match="finer than float64 can tell of values around"):
        method(chain(1e9, 0.9), tolerance=1e-6)


@pytest.mark.parametrize("method", BY_SWEEPS)
@pytest.mark.parametrize("chance", [0.3, 5e-4])
def test_an_end_that_is_seldom_reached_is_waited_for_at_gamma_1(method, chance):
    """V* = 1 however small the chance of the exit that pays 1: then what one sweep changes is far
    less than what is still to come.
    """
    table = torch.tensor([[[1 - chance, chance], [0.0, 1.0]]], dtype=torch.float64)
    mdp = MDP(
        table,
        torch.tensor([[chance], [0.0]], dtype=torch.float64),
        1.0,
        terminal=torch.tensor([False, True]),
    )
    assert float(method(mdp, tolerance=1e-3).value[0]) == pytest.approx(1.0, abs=1.01e-3)


@pytest.mark.parametrize("method", [*BY_SWEEPS, policy_iteration])
@pytest.mark.parametrize("slip", [0.0, 0.2])
def test_where_waiting_costs_nothing_the_policy_still_ends(method, slip):
    """At γ = 1 and without a step reward to bump into a wall for ever looks as good as to walk to
    the exit, and earns nothing.
    """
    mdp = read_gridworld(CLASSIC, step_reward=0.0, slip=slip).mdp()
    solution = method(mdp)
    assert float((policy_value(mdp, solution.policy) - solution.value).abs().max()) < 1e-6


def test_sweeps_that_come_no_closer_are_broken_off():
    """After so many that every digit of float64 has been won."""
    approach = Approach(0.9, 1e-3)
    assert approach.near(1e-4, 1.0, 5)
    assert not approach.near(1.0, 1.0, 500)
    with pytest.raises(UserError, match="finer than float64"):
        approach.near(1.0, 1.0, 1000)
    with pytest.raises(UserError, match="beyond all numbers"):
        approach.near(float("nan"), 1.0, 1)
