"""The diffusion's bound in nats, and its way back, held against closed forms and quadrature."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fledge.models.language.vector_diffusion import VectorDiffusion

LEAST = 0.2
N = 200_000


class Known(VectorDiffusion):
    """Of numbers x of which the best ε̂ is known."""

    def __init__(self) -> None:
        super().__init__(1, 4, 1, LEAST)
        self.double()


class TwoPoints(Known):
    """x is −1 or 1."""

    def find_noise(self, z: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.scales(t)
        return (z - alpha * torch.tanh(alpha * z / sigma**2)) / sigma


class Normal(Known):
    """x is N(0.5, 0.3²)."""

    def find_noise(self, z: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.scales(t)
        return sigma * (z - alpha * 0.5) / (alpha**2 * 0.3**2 + sigma**2)


def draw(generator: torch.Generator, times: int) -> tuple[Tensor, Tensor]:
    """Noise, and times that are spread evenly.  [N·times, 1], [N·times]"""
    noise = torch.randn(N, times, generator=generator, dtype=torch.float64)
    return noise, (torch.arange(N) + 0.5).double() / N


def check(nats: Tensor, wanted: float) -> None:
    """Within 5 deviations of the mean's noise."""
    assert abs(float(nats.mean()) - wanted) < 5 * float(nats.std()) / math.sqrt(N) + 1e-4


def test_a_fresh_network_is_the_best_for_normal_vectors() -> None:
    """x of N(0, 1) is worth I(x; z₀) = −log σ₀ nats a unit, and no more is lost on the way."""
    prior = VectorDiffusion(3, 8, 2, LEAST).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    noise, t = draw(generator, 3)
    with torch.no_grad():
        check(prior.nats(x, noise, t), -3 * math.log(LEAST))


def test_two_points_are_worth_what_their_noisy_forms_tell_apart() -> None:
    """The bound is tight for the best guess: I(x; z₀), by quadrature, which is nearly log 2, and
    the KL from q(z₁) to N(0, 1).
    """
    prior = TwoPoints()
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(N, 1, generator=generator) < 0.5).double() * 2 - 1
    noise, t = draw(generator, 1)
    z = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    step = float(z[1] - z[0])

    def density(mean: float, sigma: float) -> Tensor:
        return (-0.5 * ((z - mean) / sigma) ** 2).exp() / (sigma * math.sqrt(2 * math.pi))

    def kl(p: Tensor, q: Tensor) -> float:
        return float((p * (p.clamp(min=1e-300) / q.clamp(min=1e-300)).log()).sum()) * step

    sides = []
    for place in (0.0, 1.0):
        alpha, sigma = (float(s) for s in prior.scales(torch.tensor([place]).double()))
        both = 0.5 * (density(alpha, sigma) + density(-alpha, sigma))
        sides.append((kl(density(alpha, sigma), both), kl(both, density(0.0, 1.0))))
    wanted = sides[0][0] + sides[1][1]
    assert 0.68 < wanted < math.log(2) + 0.01
    check(prior.nats(x, noise, t), wanted)


def test_a_worse_network_is_worth_more_nats() -> None:
    prior = VectorDiffusion(1, 4, 1, LEAST).double()  # the best for N(0, 1), not for two points
    generator = torch.Generator().manual_seed(2)
    x = (torch.rand(N, 1, generator=generator) < 0.5).double() * 2 - 1
    noise, t = draw(generator, 1)
    with torch.no_grad():
        # KL(q(z₀ | x) ‖ N(0, 1)), averaged: what a prior that knows nothing takes.
        alpha_2 = 1 - LEAST**2
        wanted = 0.5 * (alpha_2 + LEAST**2 - 1) - math.log(LEAST)
        check(prior.nats(x, noise, t), wanted)


def test_the_way_back_is_the_closed_form_of_a_normal() -> None:
    """The flow keeps every number's place in deviations: z₀ = α₀ m + s₀ / s₁ (z₁ − α₁ m)."""
    prior = Normal()
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    ends = [prior.scales(torch.tensor([place]).double()) for place in (0.0, 1.0)]
    (first, last) = [
        (float(a) * 0.5, math.sqrt(float(a) ** 2 * 0.3**2 + float(s) ** 2)) for a, s in ends
    ]
    wanted = first[0] + first[1] / last[1] * (z - last[0])
    errors = [float((prior.descend(z, steps) - wanted).abs().max()) for steps in (25, 100, 400)]
    assert errors[2] < 0.005
    # Of first order: a fourth of the step, a fourth of the error.
    assert 3 < errors[0] / errors[1] < 5
    assert 3 < errors[1] / errors[2] < 5
    torch.testing.assert_close(prior.descend(z, 3, 0.0), z)


def test_the_way_back_finds_both_points() -> None:
    prior = TwoPoints()
    z = torch.randn(2000, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    reached = prior.descend(z, 50) / math.sqrt(1 - LEAST**2)
    assert float((reached.abs() - 1).abs().median()) < 0.15
    # Half of them on either side, within 5 deviations.
    assert abs(float((reached > 0).double().mean()) - 0.5) < 5 * 0.5 / math.sqrt(2000)
