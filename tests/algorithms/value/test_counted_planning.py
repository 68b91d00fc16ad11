"""Dyna and prioritised sweeping beside every policy tried by linear algebra, what an end is worth,
what counts pay, and exact resumption.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fledge.algorithms.parts.action_table import ActionTable
from fledge.algorithms.parts.exploration import Exploration
from fledge.algorithms.value.dyna import Dyna
from fledge.algorithms.value.prioritised_sweeping import PrioritisedSweeping
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.mdp import MDP
from fledge.worlds.mdp_world import MDPWorld
from fledge.worlds.world import Choices
from tests.algorithms.counted_worlds import Circle
from tests.algorithms.value.test_dqn import optimal_q, random_process

METHODS = ("dyna", "sweeping")


def made(method: str, states: int, actions: int = 2, seed: int = 0, **settings: Any) -> Any:
    table = ActionTable(
        Choices((states,)), Choices((actions,)), exploration=Exploration(1.0, 1.0, 1),
        initial=settings.get("initial_value", 0.0),
    )  # fmt: skip
    if method == "dyna":
        generator = torch.Generator().manual_seed(seed)
        return Dyna(table, Stopwatch(), Dyna.Settings(**settings), generator=generator)
    return PrioritisedSweeping(table, Stopwatch(), PrioritisedSweeping.Settings(**settings))


def steps_in_proportion(chance: np.ndarray, reward: np.ndarray, times: int) -> Trajectories:
    """Every state and action so often that its outcomes come exactly as often as they are likely,
    as rows of one step.
    """
    rows = []
    for a, s in np.ndindex(chance.shape[:2]):
        for after, p in enumerate(chance[a, s]):
            count = round(p * times)
            assert count == pytest.approx(p * times, abs=1e-9)
            rows += [(s, a, reward[s, a], after)] * count
    state, action, paid, after = (torch.tensor(x) for x in zip(*rows, strict=True))
    no = torch.zeros(len(rows), 1, dtype=torch.bool)
    return Trajectories(
        torch.stack([state, after], 1), action[:, None], ~no, paid[:, None].double(), no, no
    )


@pytest.mark.parametrize("method", METHODS)
def test_where_the_counts_are_the_chances_q_is_q_star(method: str) -> None:
    """Six states whose chances are tenths, γ = 0.8: Q* by trying all 64 policies, within 1e-6."""
    random = np.random.default_rng(2)
    chance = random.multinomial(10, np.full(6, 1 / 6), size=(2, 6)) / 10
    reward = random.normal(size=(6, 2))
    expected = optimal_q(chance, reward, 0.8)
    closely: dict[str, Any] = {} if method == "dyna" else {"threshold": 1e-8}
    algorithm = made(method, 6, gamma=0.8, planning_steps=600, **closely)
    algorithm.update(steps_in_proportion(chance, reward, 10))
    np.testing.assert_allclose(algorithm.table.q.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_table_converges_to_q_star_of_a_world_that_it_acts_in(method: str) -> None:
    """Five states, everything at random: within 0.05, where Q* spreads over more than 1. 640 steps
    of each pair leave that much of their chances open.
    """
    transition, reward, gamma = random_process(5, seed=4)
    expected = optimal_q(transition, reward, gamma)
    world = MDPWorld(MDP(torch.tensor(transition), torch.tensor(reward), gamma), 16)
    algorithm = made(method, 5, gamma=gamma, planning_steps=3)
    episodes = Episodes(world, algorithm.table, Stopwatch(), steps=25, seed=1)
    for _ in range(16):
        algorithm.update(next(episodes))
    assert np.ptp(expected) > 1
    assert np.abs(algorithm.table.q.numpy() - expected).max() < 0.05


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_an_end_is_worth_nothing_and_a_cut_is_none(method: str, ends: bool) -> None:
    """Ten places round a circle, each step worth 1, γ = 0.5: cut after a round the next round
    counts, 2 everywhere; ended there, 2 (1 − ½^k) with k steps to go.
    """
    algorithm = made(method, 10, gamma=0.5, planning_steps=20)
    episodes = Episodes(Circle(2, ends=ends), algorithm.table, Stopwatch(), steps=11, seed=0)
    for _ in range(30):
        algorithm.update(next(episodes))
    to_go = torch.arange(10, 0, -1).double()
    expected = 2 * (1 - 0.5**to_go) if ends else torch.full((10,), 2.0, dtype=torch.float64)
    torch.testing.assert_close(algorithm.table.q.amax(1), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_what_was_tried_n_times_pays_beta_over_the_root_of_n(method: str) -> None:
    """One state, three tries of action 0 worth 1 each, γ = 0: Q = 1 + β/√3; action 1 as at
    first.
    """
    no = torch.zeros(1, 3, dtype=torch.bool)
    batch = Trajectories(
        torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long), ~no,
        torch.ones(1, 3), no, no,
    )  # fmt: skip
    algorithm = made(method, 1, gamma=0.0, count_bonus=0.6, initial_value=7.0)
    algorithm.update(batch)
    assert algorithm.table.q[0].tolist() == pytest.approx([1 + 0.6 / math.sqrt(3), 7.0])


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_with_the_same_bits(method: str, tmp_path: Path) -> None:
    transition, reward, gamma = random_process(5, seed=4)
    world = MDPWorld(MDP(torch.tensor(transition), torch.tensor(reward), gamma), 4)
    straight, other = (made(method, 5, seed=s, gamma=gamma, planning_steps=2) for s in (0, 9))
    episodes = Episodes(world, straight.table, Stopwatch(), steps=10, seed=1)
    batches = [next(episodes) for _ in range(6)]
    for batch in batches[:3]:
        straight.update(batch)
    save_state(tmp_path / "state", straight.state_dict())
    other.load_state_dict(load_state(tmp_path / "state"))
    for batch in batches[3:]:
        assert straight.update(batch) == other.update(batch)
    assert torch.equal(straight.table.q, other.table.q)


def test_what_is_urgent_is_backed_up_first() -> None:
    """A corridor of eight, known but for the prize at its end: one step into the prize and seven
    backups bring its worth to the beginning; Dyna's seven, drawn evenly, do not get there (seeds 0
    to 9).
    """
    way = torch.arange(9)[None]
    no = torch.zeros(1, 8, dtype=torch.bool)
    blank = Trajectories(way, torch.zeros(1, 8, dtype=torch.long), ~no, torch.zeros(1, 8), no, no)
    last = Trajectories(
        way[:, 7:9], torch.zeros(1, 1, dtype=torch.long), ~no[:, :1], torch.full((1, 1), 1e9),
        ~no[:, :1], no[:, :1],
    )  # fmt: skip
    sweeping = made("sweeping", 9, 1, gamma=0.5, planning_steps=7)
    sweeping.update(blank)
    sweeping.update(last)
    assert float(sweeping.table.q[0]) > 1e6
    for seed in range(10):
        dyna = made("dyna", 9, 1, seed, gamma=0.5, planning_steps=7)
        dyna.update(blank)
        dyna.update(last)
        assert float(dyna.table.q[0]) == 0
