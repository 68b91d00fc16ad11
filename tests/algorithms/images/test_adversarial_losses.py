"""Losses of critics against divergences by enumeration, penalties against finite differences."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from fledge.algorithms.images.adversarial_losses import (
    LOSSES,
    AdversarialLoss,
    activate,
    critic_loss,
    dual,
    generator_loss,
    gradient_penalty,
    slope,
)
from tests.subjects import seeded

P = torch.tensor([0.5, 0.2, 0.1, 0.2], dtype=torch.float64)
Q = torch.tensor([0.1, 0.3, 0.3, 0.3], dtype=torch.float64)
M = (P + Q) / 2
JS = float(0.5 * (P * (P / M).log()).sum() + 0.5 * (Q * (Q / M).log()).sum())
# the best critic and what the loss is there, each by the calculus of its own paper
AT_BEST: dict[AdversarialLoss, tuple[Tensor, float]] = {
    "nonsaturating": ((P / Q).log(), math.log(4) - 2 * JS),
    "hinge": ((P - Q).sign(), 2 * float(torch.minimum(P, Q).sum())),
    "kl": (1 + (P / Q).log(), -float((P * (P / Q).log()).sum())),
    "reverse_kl": ((P / Q).log(), -float((Q * (Q / P).log()).sum())),  # T = −Q/P
    "pearson": (2 * (P / Q - 1), -float(((P - Q) ** 2 / Q).sum())),
}


def expected(kind: AdversarialLoss, critic: Tensor) -> Tensor:
    """E_p and E_q of the loss under a critic that is a table."""
    zero = torch.zeros_like(critic)
    of_real = critic_loss(kind, critic, zero) - critic_loss(kind, zero, zero)
    of_drawn = critic_loss(kind, zero, critic)
    return (P * of_real).sum() + (Q * of_drawn).sum()


@pytest.mark.parametrize("kind", list(AT_BEST))
def test_at_the_best_critic_a_loss_is_its_divergence(kind: AdversarialLoss) -> None:
    best, value = AT_BEST[kind]
    assert float(expected(kind, best)) == pytest.approx(value, abs=1e-12)
    random = seeded(1)
    for scale in (1e-3, 0.1, 1.0):
        for _ in range(20):
            other = best + scale * torch.randn(4, generator=random, dtype=torch.float64)
            assert float(expected(kind, other)) >= value - 1e-12


def test_wasserstein_is_the_difference_of_means() -> None:
    critic = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    exact = float(((Q - P) * critic).sum())
    assert float(expected("wasserstein", critic)) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("kind", ["kl", "reverse_kl", "pearson"])
def test_a_dual_is_the_largest_of_its_lines(kind: AdversarialLoss) -> None:
    """f*(t) = sup_u u t − f(u), over a fine grid of u."""
    u = torch.linspace(1e-6, 60, 2_000_001, dtype=torch.float64)
    f = {"kl": u * u.log(), "reverse_kl": -u.log(), "pearson": (u - 1) ** 2}[kind]
    for value in (-0.7, 0.0, 0.9):
        v = torch.tensor(value, dtype=torch.float64)
        exact = float((u * activate(kind, v) - f).max())
        assert float(dual(kind, v)) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_generator_is_drawn_to_what_the_critic_calls_real(kind: AdversarialLoss) -> None:
    score = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(generator_loss(kind, score).sum(), score)
    assert bool((gradient < 0).all())


def critic(x: Tensor, weight: Tensor) -> Tensor:
    return (x.flatten(1) @ weight).tanh() + 0.3 * x.flatten(1).square().sum(1)


def numeric_slope(x: Tensor, weight: Tensor) -> Tensor:
    step, total = 1e-5, torch.zeros(len(x), dtype=torch.float64)
    for place in range(x[0].numel()):
        move = torch.zeros_like(x).flatten(1)
        move[:, place] = step
        up, down = critic(x + move.view_as(x), weight), critic(x - move.view_as(x), weight)
        total += ((up - down) / (2 * step)) ** 2
    return total


def test_slopes_and_penalties_are_finite_differences() -> None:
    random = seeded(2)
    real, drawn = (torch.randn(5, 1, 2, 2, generator=random, dtype=torch.float64) for _ in range(2))
    weight = torch.randn(4, generator=random, dtype=torch.float64)
    mix = torch.rand(5, generator=random, dtype=torch.float64)
    here = partial(critic, weight=weight)
    torch.testing.assert_close(slope(here, real), numeric_slope(real, weight), rtol=1e-7, atol=0)
    between = mix.view(-1, 1, 1, 1) * real + (1 - mix.view(-1, 1, 1, 1)) * drawn
    exact = (numeric_slope(between, weight).sqrt() - 1) ** 2
    made = gradient_penalty(here, real, drawn, mix)
    torch.testing.assert_close(made, exact, rtol=1e-6, atol=1e-9)


def test_a_penalty_teaches_the_critic() -> None:
    """Its gradient for the critic's weights, by finite differences: through the slope itself."""
    random = seeded(3)
    real = torch.randn(5, 1, 2, 2, generator=random, dtype=torch.float64)
    weight = torch.randn(4, generator=random, dtype=torch.float64).requires_grad_(True)
    (gradient,) = torch.autograd.grad(slope(partial(critic, weight=weight), real).sum(), weight)
    for place in range(4):
        move = torch.zeros(4, dtype=torch.float64)
        move[place] = 1e-5
        up, down = (
            float(numeric_slope(real, weight.detach() + sign * move).sum()) for sign in (1, -1)
        )
        assert float(gradient[place]) == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-4)
