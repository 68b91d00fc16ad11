"""Losses equal their formulas, the three estimators of the KL have the expectations and gradients
that are claimed for them.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fledge.exact.enumerable import Language
from fledge.exact.enumerable import kl as exact_kl
from fledge.fit import (
    clipped_ratio,
    kl_k1,
    kl_k2,
    kl_k3,
    nll,
    pairwise_logistic,
    total,
    value_error,
)
from tests.subjects import GARBAGE, seeded


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


# A decision among 4, under π (trained) and π_ref.
LOGITS, REFERENCE = normal(4, seed=0), normal(4, seed=1)


def expected_gradient(estimator: object) -> Tensor:
    """Σ_a π(a) ∇ loss(a): what sampling actions from π and differentiating the loss gives on
    average.
    """
    table = LOGITS.clone().requires_grad_(True)
    logp = table.log_softmax(0)
    loss = estimator(logp, REFERENCE.log_softmax(0))  # type: ignore[operator]
    return torch.autograd.grad((logp.exp().detach() * loss).sum(), table)[0]


def gradient_of_kl(forward: bool) -> Tensor:
    table = LOGITS.clone().requires_grad_(True)
    p, q = table.log_softmax(0), REFERENCE.log_softmax(0)
    kl = exact_kl(p, q) if forward else exact_kl(q, p)
    return torch.autograd.grad(kl, table)[0]


def test_k1_and_k3_are_unbiased_and_k2_is_not() -> None:
    p, q = LOGITS.log_softmax(0), REFERENCE.log_softmax(0)
    exact = exact_kl(p, q).item()
    mean = lambda estimate: (p.exp() * estimate).sum().item()  # noqa: E731
    assert mean(kl_k1(p, q)) == pytest.approx(exact, abs=1e-12)
    assert mean(kl_k3(p, q)) == pytest.approx(exact, abs=1e-12)
    assert abs(mean(kl_k2(p, q)) - exact) > 0.01


def test_k3_is_never_negative_and_k1_sometimes_is() -> None:
    p, q = LOGITS.log_softmax(0), REFERENCE.log_softmax(0)
    assert (kl_k3(p, q) >= 0).all()
    assert (kl_k1(p, q) < 0).any()


def test_k1_as_a_loss_trains_nothing() -> None:
    assert expected_gradient(kl_k1).abs().max().item() < 1e-12


def test_k2_as_a_loss_has_the_gradient_of_the_kl_to_the_reference() -> None:
    torch.testing.assert_close(expected_gradient(kl_k2), gradient_of_kl(forward=True))


def test_k3_as_a_loss_has_the_gradient_of_the_other_direction() -> None:
    torch.testing.assert_close(expected_gradient(kl_k3), gradient_of_kl(forward=False))
    assert (expected_gradient(kl_k3) - gradient_of_kl(forward=True)).abs().max() > 0.01


def test_k2_is_right_for_a_sequence_whose_sum_it_takes_and_wrong_per_token() -> None:
    language = Language(3, 3, stop=0)
    shape = (len(language.prefixes), 3)
    table = normal(*shape, seed=2).requires_grad_(True)
    reference = language.step_log_prob(normal(*shape, seed=3))
    steps = language.step_log_prob(table)
    p = language.log_prob(table).exp().detach()
    (whole,) = torch.autograd.grad(
        (p * kl_k2(steps.sum(1), reference.sum(1))).sum(), table, retain_graph=True
    )
    (tokens,) = torch.autograd.grad(
        (p[:, None] * kl_k2(steps, reference)).sum(), table, retain_graph=True
    )
    (exact,) = torch.autograd.grad(exact_kl(steps.sum(1), reference.sum(1)), table)
    torch.testing.assert_close(whole, exact)
    assert (tokens - exact).abs().max() > 0.01


def test_estimators_stay_finite_where_the_policies_have_nothing_in_common() -> None:
    far = kl_k3(torch.tensor([-1e4, 0.0]), torch.tensor([0.0, -1e4]))
    assert torch.isfinite(far).all()


def test_k3_estimates_a_kl_of_thirty_nats() -> None:
    """What the policy says all the time and the reference hardly ever: the linear term is not held
    back.
    """
    p, q = (torch.tensor([1 - x, x], dtype=torch.float64) for x in (1e-6, 1 - math.exp(-30)))
    exact = sum(
        a * (math.log(a) - math.log(b))
        for a, b in zip(p.tolist(), [math.exp(-30), q[1].item()], strict=True)
    )
    logq = torch.tensor([-30.0, math.log(q[1].item())], dtype=torch.float64)
    assert exact > 29.9
    assert (p * kl_k3(p.log(), logq)).sum().item() == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("gap", [-30.0, -11.0, 11.0, 19.9])
def test_k3_is_its_formula_up_to_a_ratio_of_e_to_the_20(gap: float) -> None:
    estimate = kl_k3(
        torch.zeros(1, dtype=torch.float64), torch.tensor([gap], dtype=torch.float64)
    ).item()
    assert estimate == pytest.approx(math.expm1(gap) - gap, rel=1e-12)


def test_k3_holds_a_ratio_at_e_to_the_20() -> None:
    estimate = kl_k3(
        torch.zeros(1, dtype=torch.float64), torch.tensor([25.0], dtype=torch.float64)
    ).item()
    assert estimate == pytest.approx(math.exp(20) - 1 - 25, rel=1e-12)


@pytest.mark.parametrize(
    ("gap", "held"), [(-25.0, -20.0), (-15.0, -15.0), (15.0, 15.0), (25.0, 20.0)]
)
def test_a_clipped_ratio_is_itself_up_to_20_nats_either_way(gap: float, held: float) -> None:
    """Where the other of the two is not clipped away: Â < 0 above, Â > 0 below."""
    advantage = -math.copysign(1.0, gap)
    loss = clipped_ratio(
        torch.tensor([[gap]]).double(),
        torch.zeros(1, 1).double(),
        torch.tensor([[advantage]]).double(),
    )
    assert loss.item() == pytest.approx(-advantage * math.exp(held), rel=1e-12)


def test_nll_with_weight_one_is_maximum_likelihood_and_with_advantages_the_policy_gradient() -> (
    None
):
    logp, advantage = normal(2, 3, seed=4), normal(2, 3, seed=5)
    assert torch.equal(nll(logp), -logp)
    assert torch.equal(nll(logp, advantage), -advantage * logp)


@pytest.mark.parametrize("advantage", [2.0, -3.0])
@pytest.mark.parametrize("ratio", [0.5, 0.79, 0.81, 1.0, 1.19, 1.31, 3.0])
def test_clipped_ratio_is_the_pessimistic_one_of_two(ratio: float, advantage: float) -> None:
    logp = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    loss = clipped_ratio(
        logp, torch.zeros(1, 1, dtype=torch.float64), torch.tensor([[advantage]]), low=0.2, high=0.3
    )
    assert loss.item() == pytest.approx(
        -min(ratio * advantage, min(max(ratio, 0.8), 1.3) * advantage)
    )
    loss.backward()
    outside = (ratio > 1.3 and advantage > 0) or (ratio < 0.8 and advantage < 0)
    assert logp.grad is not None
    assert logp.grad.item() == pytest.approx(0.0 if outside else -ratio * advantage)


def test_clipped_ratio_stays_finite_when_the_policies_are_far_apart() -> None:
    logp = torch.tensor([[-1000.0, 0.0]], requires_grad=True)
    loss = clipped_ratio(logp, torch.tensor([[0.0, -1000.0]]), torch.tensor([[-1.0, -1.0]]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert logp.grad is not None
    assert torch.isfinite(logp.grad).all()


@pytest.mark.parametrize(("gap", "slope"), [(19.0, math.exp(19.0)), (21.0, 0.0)])
def test_past_its_bound_a_bad_action_that_has_become_far_likelier_has_no_gradient(
    gap: float, slope: float
) -> None:
    """Where PPO's would be e^gap: the ratio is held for arithmetic's sake."""
    logp = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    clipped_ratio(
        logp, logp.detach() - gap, -torch.ones(1, 1, dtype=torch.float64)
    ).sum().backward()
    assert logp.grad is not None
    assert logp.grad.item() == pytest.approx(slope)


def test_value_error_and_its_clipped_form() -> None:
    value, target, old = (
        torch.tensor([[1.0, 3.0]]),
        torch.tensor([[2.0, 2.0]]),
        torch.tensor([[0.5, 2.5]]),
    )
    assert value_error(value, target).tolist() == [[0.5, 0.5]]
    assert value_error(value, target, old, 0.1)[0].tolist() == pytest.approx([0.5 * 1.4**2, 0.5])
    with pytest.raises(ValueError, match="old_value"):
        value_error(value, target, clip=0.1)


def test_pairwise_logistic_is_the_log_probability_that_the_better_one_wins() -> None:
    better, worse = (
        torch.tensor([1.0, -2.0, 500.0, -500.0]),
        torch.tensor([0.0, 1.0, -500.0, 500.0]),
    )
    loss = pairwise_logistic(better, worse)
    assert loss[:2].tolist() == pytest.approx([math.log1p(math.exp(-1)), math.log1p(math.exp(3))])
    assert loss[2:].tolist() == [0.0, 1000.0]
    assert pairwise_logistic(better, worse, 0.5)[0].item() == pytest.approx(
        math.log1p(math.exp(-0.5))
    )


@pytest.mark.parametrize("kind", GARBAGE)
def test_what_stands_under_the_mask_reaches_neither_the_loss_nor_its_gradient(kind: float) -> None:
    mask = torch.tensor([[True, False, True]])
    loss = torch.tensor([[1.0, kind, 3.0]], requires_grad=True)
    summed = total(loss, mask, 4.0)
    summed.backward()
    assert summed.item() == 1.0
    assert loss.grad is not None
    assert loss.grad.tolist() == [[0.25, 0.0, 0.25]]
