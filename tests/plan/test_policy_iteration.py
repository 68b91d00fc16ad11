"""The value of a policy: a closed form, both ways of finding it, and what has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.plan.bellman import action_values, policy_backup
from fledge.plan.policy_iteration import policy_iteration, policy_value, policy_value_by_sweeps
from fledge.worlds.gridworld import CLASSIC, read_gridworld
from fledge.worlds.mdp import MDP
from tests.plan.processes import random_process, sparse


def walk(states: int, gamma: float) -> MDP:
    """A gambler's: one left with action 0, one right with action 1, both ends terminal; the right
    one pays 1.
    """
    left, right = torch.eye(states), torch.eye(states)
    inside = torch.arange(1, states - 1)
    left[inside], right[inside] = torch.eye(states)[inside - 1], torch.eye(states)[inside + 1]
    pay = torch.zeros(states, 2)
    pay[states - 2, 1] = 1.0
    end = torch.ones(states, dtype=torch.bool)
    end[inside] = False
    return MDP(torch.stack([left, right]), pay, gamma, terminal=end)


def fair(mdp: MDP) -> torch.Tensor:
    return torch.full((mdp.states, mdp.actions), 1 / mdp.actions, dtype=torch.float64)


@pytest.mark.parametrize("form", [lambda x: x, sparse])
def test_the_random_walk_wins_as_often_as_it_is_far(form):
    """Sutton & Barto 2018, example 6.2: from the k-th of n − 1 places the chance of the right end
    is k/n.
    """
    mdp = form(walk(7, 1.0))
    expected = torch.tensor([0, 1, 2, 3, 4, 5, 0], dtype=torch.float64) / 6
    torch.testing.assert_close(policy_value(mdp, fair(mdp)), expected)
    torch.testing.assert_close(policy_value_by_sweeps(mdp, fair(mdp)), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.6, 0.99, 1.0])
def test_a_mixed_policy_both_ways_and_v_is_the_mean_of_q(gamma):
    mdp = random_process(6, 3, gamma, 1, 0.5, seed=4)
    draw = np.random.default_rng(1)
    policy = torch.from_numpy(draw.dirichlet(np.ones(3), 6))
    chance = np.einsum("sa,asn->sn", policy.numpy(), mdp.dense().numpy())[:5, :5]
    expected = np.linalg.solve(np.eye(5) - gamma * chance, (policy * mdp.reward).sum(1).numpy()[:5])
    value = policy_value(mdp, policy)
    assert np.abs(value[:5].numpy() - expected).max() < 1e-10
    assert value[5] == 0
    assert float((policy_value_by_sweeps(mdp, policy) - value).abs().max()) < 1e-8
    # V_π(s) = Σ_a π(a|s) Q_π(s, a)
    torch.testing.assert_close((policy * action_values(mdp, value)).sum(1), value)
    torch.testing.assert_close(policy_backup(mdp, policy, value), value)


def test_actions_are_chances_of_one():
    mdp = random_process(5, 3, 0.9, 0, 1.0, seed=2)
    actions = torch.tensor([2, 0, 1, 1, 0])
    assert torch.equal(policy_value(mdp, actions), policy_value(mdp, torch.eye(3)[actions]))


def test_policy_iteration_takes_few_policies():
    solution = policy_iteration(read_gridworld(CLASSIC).mdp())
    assert solution.sweeps <= 6
    assert policy_iteration(walk(50, 1.0)).value[1:-1].tolist() == [1.0] * 48


def test_a_tie_is_no_reason_to_change():
    """Three actions alike but for the thirteenth digit: the first policy is kept."""
    alike = random_process(5, 1, 0.9, 0, 1.0, seed=3)
    reward = alike.reward.abs() * (1 + 1e-13 * torch.arange(3, dtype=torch.float64))
    solution = policy_iteration(MDP(alike.dense().repeat(3, 1, 1), reward, 0.9))
    assert (reward[:, 2] > reward[:, 0]).all()
    assert solution.sweeps == 1


def test_a_policy_that_never_ends_is_named():
    mdp = walk(5, 1.0)
    with pytest.raises(UserError, match=r"from state 1 this policy never ends: at gamma = 1"):
        policy_value(mdp, torch.tensor([0, 1, 0, 1, 0]))  # to and fro between 1 and 2
    stuck = MDP(
        torch.eye(2)[None], torch.tensor([[-1.0], [0.0]]), 1.0, terminal=torch.tensor([False, True])
    )
    with pytest.raises(UserError, match="from state 0 this policy never ends"):
        policy_iteration(stuck)
    with pytest.raises(UserError, match="values still change by 1"):
        policy_value_by_sweeps(stuck, torch.tensor([0, 0]))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (torch.tensor([0, 1, 2, 0, 0]), "actions from 0 to 2: give 0 to 1"),
        (torch.tensor([0, 1]), r"the policy is torch.int64 \(2,\)"),
        (torch.full((5, 2), 0.4), "the policy in state 0 is no distribution"),
        (
            torch.tensor([[0.5, 0.5]] * 4 + [[1.5, -0.5]]),
            "the policy in state 4 is no distribution",
        ),
        (torch.full((5, 2), float("nan")), "the policy in state 0 is no distribution"),
    ],
)
def test_what_is_no_policy_is_named(policy, message):
    with pytest.raises(UserError, match=message):
        policy_value(walk(5, 1.0), policy)


def test_too_many_states_for_a_linear_solve():
    mdp = read_gridworld("\n".join(["." * 101] * 100), gamma=0.9).mdp()
    with pytest.raises(UserError, match="10100"):
        policy_value(mdp, torch.zeros(mdp.states, dtype=torch.long))
    value = policy_value_by_sweeps(mdp, torch.zeros(mdp.states, dtype=torch.long))
    assert float((value + 0.04 / (1 - 0.9)).abs().max()) < 1e-9  # every step pays −0.04, for ever
