"""What the rows say is worked out here again from sums over trajectories, and is not said where it
is not so.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.exact.mdp import EnumeratedMDP, random_mdp
from fledge.verify.policy_gradient_rows import (
    bootstrapped_gradient,
    estimate,
    gae_advantage,
    k_step_advantage,
    off_policy_advantage,
    policy_gradient_rows,
)

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def action_values(mdp: EnumeratedMDP, logits: Tensor) -> Tensor:
    """Q_t(s, a) by induction, here in loops.  -> [H, S, A]"""
    states, actions = mdp.reward.shape
    policy, ahead, tables = logits.softmax(-1), [0.0] * states, []
    for _ in range(mdp.horizon):
        q = [
            [
                float(mdp.reward[s, a])
                + mdp.gamma * sum(float(mdp.transition[a, s, n]) * ahead[n] for n in range(states))
                for a in range(actions)
            ]
            for s in range(states)
        ]
        ahead = [sum(float(policy[s, a]) * q[s][a] for a in range(actions)) for s in range(states)]
        tables.append(q)
    return torch.tensor(tables[::-1], dtype=torch.float64)


def mean_advantage(mdp: EnumeratedMDP, logits: Tensor, advantage: Tensor) -> Tensor:
    """Of the trajectories that are in s at time t and do a there.  [N, H] -> [H, S, A], NaN where
    there are none
    """
    p, (states, actions) = mdp.prob(logits), mdp.reward.shape
    mean = torch.full((mdp.horizon, states, actions), torch.nan, dtype=torch.float64)
    for t in range(mdp.horizon):
        for s in range(states):
            for a in range(actions):
                here = (mdp.state[:, t] == s) & (mdp.action[:, t] == a)
                mean[t, s, a] = (p * advantage[:, t])[here].sum() / p[here].sum()
    return mean


@pytest.mark.parametrize("seed", range(5))
def test_with_the_exact_critic_every_advantage_is_on_average_q_minus_v(seed: int) -> None:
    """More than an unbiased gradient: in every state, at every time, for every action."""
    mdp, logits = random_mdp(3, 2, 4, 0.9, seed)
    q = action_values(mdp, logits)
    value = (logits.softmax(-1) * q).sum(-1)  # [H, S]
    torch.testing.assert_close(mdp.state_values(logits)[:-1], value, **EXACT)
    values = torch.cat([value, torch.zeros(1, 3, dtype=torch.float64)])
    exact = q - value[..., None]
    for lam in (0.0, 0.3, 1.0):
        torch.testing.assert_close(
            mean_advantage(mdp, logits, gae_advantage(mdp, values, lam)), exact, **EXACT
        )
    for k in (1, 2, 3, 4):
        torch.testing.assert_close(
            mean_advantage(mdp, logits, k_step_advantage(mdp, values, k)), exact, **EXACT
        )


def test_one_step_and_whole_episodes_are_the_two_ends_of_both_families() -> None:
    mdp, _ = random_mdp(3, 2, 4, 0.9, 1)
    values = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        k_step_advantage(mdp, values, 1), gae_advantage(mdp, values, 0.0), **EXACT
    )
    torch.testing.assert_close(
        k_step_advantage(mdp, values, 4), gae_advantage(mdp, values, 1.0), **EXACT
    )
    assert (k_step_advantage(mdp, values, 2) - gae_advantage(mdp, values, 1.0)).abs().max() > 0.1


def test_a_wrong_critic_is_harmless_at_the_end_of_the_family_alone() -> None:
    mdp, logits = random_mdp(3, 2, 4, 0.9, 2)
    wrong = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    p, exact = mdp.prob(logits), mdp.gradient(logits)
    errors = []
    for lam in (0.0, 0.5, 0.9, 1.0):
        mean = torch.einsum("n,nsa->sa", p, estimate(mdp, logits, gae_advantage(mdp, wrong, lam)))
        errors.append(float((mean - exact).norm() / exact.norm()))
    assert errors[-1] < 1e-12
    assert all(further > nearer for further, nearer in pairwise(errors))
    assert errors[2] > 1e-3


def test_samples_of_another_policy_are_made_up_for_by_the_decisions_before_each_reward() -> None:
    mdp, logits = random_mdp(3, 2, 4, 0.9, 2)
    _, behaviour = random_mdp(3, 2, 4, 0.9, 9)
    acting, exact = mdp.prob(behaviour), mdp.gradient(logits)
    each = estimate(mdp, logits, off_policy_advantage(mdp, logits, behaviour))
    torch.testing.assert_close(torch.einsum("n,nsa->sa", acting, each), exact, **EXACT)
    plain = estimate(mdp, logits, off_policy_advantage(mdp, logits, logits))
    assert (torch.einsum("n,nsa->sa", acting, plain) - exact).norm() > 0.1 * exact.norm()


def test_the_formula_of_a_bootstrapped_gradient_is_the_true_gradient_where_it_should_be() -> None:
    """With the exact critic at any λ, and with any critic at λ = 1; in between it is the mean over
    trajectories, not the gradient.
    """
    mdp, logits = random_mdp(3, 2, 4, 0.9, 2)
    exact, values = mdp.gradient(logits), mdp.state_values(logits)
    wrong = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for lam in (0.0, 0.5, 1.0):
        torch.testing.assert_close(bootstrapped_gradient(mdp, logits, values, lam), exact, **EXACT)
    wrong[-1] = 0  # after the last step there is nothing
    torch.testing.assert_close(bootstrapped_gradient(mdp, logits, wrong, 1.0), exact, **EXACT)
    assert (bootstrapped_gradient(mdp, logits, wrong, 0.5) - exact).norm() > 0.01 * exact.norm()


def test_the_rows_hold() -> None:
    rows = policy_gradient_rows(10)
    assert all(row.holds for row in rows)
    assert [row.bound for row in rows] == [1e-10] * 5
