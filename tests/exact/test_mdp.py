"""The enumerated process is held to dynamic programming, to finite differences, and to two steps
worked out by hand.
"""

from __future__ import annotations

import pytest
import torch

from fledge.exact.mdp import EnumeratedMDP, random_mdp

UNIFORM = torch.zeros(2, 2, dtype=torch.float64)


def two_states() -> EnumeratedMDP:
    """Action 0 stays, action 1 goes to the other state; being in state 1 is worth 1."""
    stay, go = torch.eye(2), torch.eye(2).flip(0)
    reward = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    return EnumeratedMDP(torch.stack([stay, go]), reward, torch.tensor([1.0, 0.0]), 0.5, 2)


def test_two_steps_by_hand() -> None:
    mdp = two_states()
    assert len(mdp.back) == 4
    # From state 0 a fair coin decides where the second step is taken: half of 0.5·1.
    assert mdp.value(UNIFORM).item() == pytest.approx(0.25)
    # ∂/∂logit of `go` in state 0 is ½·½·(0.5 − 0), and the opposite for `stay`; the last action
    # changes nothing.
    expected = torch.tensor([[-0.125, 0.125], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(mdp.gradient(UNIFORM), expected)


@pytest.mark.parametrize(
    ("states", "actions", "horizon"), [(1, 3, 4), (2, 2, 1), (3, 2, 3), (4, 3, 4)]
)
def test_enumeration_agrees_with_dynamic_programming(
    states: int, actions: int, horizon: int
) -> None:
    mdp, logits = random_mdp(states, actions, horizon, 0.8, seed=states)
    assert mdp.prob(logits).sum().item() == pytest.approx(1, abs=1e-12)
    by_induction = (mdp.start * mdp.state_values(logits)[0]).sum()
    assert mdp.value(logits).item() == pytest.approx(by_induction.item(), abs=1e-12)


def test_the_gradient_is_the_slope_of_the_value_found_by_induction() -> None:
    mdp, logits = random_mdp(3, 3, 4, 0.9, seed=5)
    step = 1e-5
    for i in range(3):
        for a in range(3):
            there = [logits.clone() for _ in range(2)]
            there[0][i, a] += step
            there[1][i, a] -= step
            up, down = ((mdp.start * mdp.state_values(x)[0]).sum() for x in there)
            assert mdp.gradient(logits)[i, a].item() == pytest.approx(
                ((up - down) / (2 * step)).item(), abs=1e-8
            )


def test_the_scores_are_the_derivatives_of_log_pi() -> None:
    mdp, logits = random_mdp(2, 3, 2, 1.0, seed=1)
    by_autograd = torch.autograd.functional.jacobian(mdp.step_log_prob, logits)
    torch.testing.assert_close(mdp.step_scores(logits), by_autograd)


def test_a_table_that_is_no_process_is_named() -> None:
    mdp = two_states()
    wrong = mdp.transition.clone()
    wrong[1, 0, 0] = 0.5
    with pytest.raises(ValueError, match=r"P\[1, 0\] is no distribution"):
        EnumeratedMDP(wrong, mdp.reward, mdp.start, 1.0, 2)
    with pytest.raises(ValueError, match="start"):
        EnumeratedMDP(mdp.transition, mdp.reward, torch.tensor([0.5, 0.4]), 1.0, 2)
    with pytest.raises(ValueError, match="must be"):
        EnumeratedMDP(mdp.transition[:1], mdp.reward, mdp.start, 1.0, 2)
    with pytest.raises(ValueError, match="5 steps"):
        EnumeratedMDP(mdp.transition, mdp.reward, mdp.start, 1.0, 5)
