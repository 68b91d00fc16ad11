"""Updates on a process: the rows hold, their induction is the sum over trajectories, and another
update does not hold.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fledge.algorithms.policy.actor_critic import AdvantageActorCritic
from fledge.exact.mdp import random_mdp
from fledge.verify import process_rows as rows


def test_the_rows_hold() -> None:
    made = rows.process_rows()
    assert [row.id for row in made] == [f"R10.{n}" for n in range(1, 5)]
    assert all(row.holds for row in made), [row for row in made if not row.holds]


def test_with_the_worth_of_the_states_the_actor_climbs_the_return_and_the_entropy() -> None:
    """H times the mean step is ∇(E[Σ r] + c·E[Σ H], places as they come), and the critic has
    nothing to learn.
    """
    mdp, logits = random_mdp(rows.STATES, rows.ACTIONS, rows.STEPS, 1.0, 3)
    actor, critic = rows.expected_steps(mdp, logits, mdp.state_values(logits))
    table = logits.clone().requires_grad_(True)
    spread = -(table.softmax(-1) * table.log_softmax(-1)).sum(-1)  # [S]
    bonus = (mdp.prob(logits)[:, None] * spread[mdp.state]).sum()
    wanted = mdp.gradient(logits) + rows.ENTROPY * torch.autograd.grad(bonus, table)[0]
    torch.testing.assert_close(rows.STEPS * actor, wanted, rtol=1e-10, atol=1e-12)
    assert critic.abs().max() < 1e-12


@pytest.mark.parametrize(
    "fault",
    [{"gae_lambda": 0.6}, {"entropy_coefficient": 2 * rows.ENTROPY}, {"value_coefficient": 0.5}],
)
def test_another_update_does_not_hold(fault: dict[str, float]) -> None:
    settings = {
        "gamma": 1.0, "gae_lambda": rows.LAMBDA, "value_coefficient": rows.VALUE,
        "entropy_coefficient": rows.ENTROPY,
    }  # fmt: skip
    assert rows.update_row(
        "R", "it", partial(AdvantageActorCritic, settings=AdvantageActorCritic.Settings(**settings))
    ).holds
    assert not rows.update_row(
        "R",
        "it",
        partial(AdvantageActorCritic, settings=AdvantageActorCritic.Settings(**settings | fault)),
    ).holds
