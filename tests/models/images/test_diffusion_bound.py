"""The bound's terms beside quadrature, by hand where T = 2 and there is one number, and beside the
entropy of normal data, which it reaches.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence

from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.denoising import Denoising
from fledge.models.images.diffusion import Diffusion
from fledge.models.images.diffusion_bound import (
    draw_log_snrs,
    draw_steps,
    level_nats,
    number_nats,
    prior_nats,
    step_nats,
)
from fledge.models.images.noise_levels import Schedule

SETTINGS: dict[str, Any] = {
    "noise_schedule": "cosine", "noise_steps": 2, "prediction": "x", "variance": "small",
    "network": "layers", "width": 8, "layers": 1, "by_label": False, "sampler": "ddpm",
    "sampling_steps": 2, "eta": 0.0, "guidance": 1.0, "judged_steps": 1,
}  # fmt: skip
LEVELS = 3
PLACES = torch.linspace(-1, 1, LEVELS).double()
GRID = torch.linspace(-9, 9, 1201, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])


class Bent(torch.nn.Module):
    """A guess of nothing learned: x̂ = tanh(z + λ/5), with a variance by cos z."""

    def __init__(self, learned: bool = False) -> None:
        super().__init__()
        self.learned = learned

    def forward(self, z: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        x = (z + log_snr.view(-1, 1, 1, 1) / 5).tanh()
        return torch.cat([x, z.cos()], 1) if self.learned else x


def model_of(**changes: Any) -> Diffusion:
    model = Diffusion(PictureShape(1, 1, 1, LEVELS), SETTINGS | changes)
    model.denoising.network = Bent(changes.get("variance") == "learned")
    return model


def by_hand(variance: str) -> list[dict[str, float]]:
    """Of each level: the three terms of a chain of two steps, and −log p(x), all by quadrature;
    written from the definitions, with ᾱ alone.
    """
    kept1, kept2 = Schedule("cosine", 2).levels().sigmoid()  # held to the formula elsewhere
    a1, s1, a2, s2 = kept1.sqrt(), (1 - kept1).sqrt(), kept2.sqrt(), (1 - kept2).sqrt()
    beta = 1 - kept2 / kept1
    snr2 = torch.log(kept2 / (1 - kept2))
    # p(z_1 | z_2), on the grid of z_2
    guess = (GRID + snr2 / 5).tanh()
    to_mean = (1 - beta).sqrt() * (1 - kept1) / (1 - kept2), a1 * beta / (1 - kept2)
    posterior_variance = (1 - kept1) / (1 - kept2) * beta
    fraction = {"small": 0.0, "large": 1.0}.get(variance, (GRID.cos() + 1) / 2)
    own = torch.exp(fraction * beta.log() + (1 - fraction) * posterior_variance.log())
    back = Normal(to_mean[0] * GRID + to_mean[1] * guess, own.sqrt().expand(GRID.shape))
    decoder = Categorical(logits=-0.5 * ((GRID[:, None] - a1 * PLACES) / s1) ** 2)  # p(x | z_1)
    prior = Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())
    # log p(z_2) + log p(z_1 | z_2), z_2 down and z_1 across
    joint = prior.log_prob(GRID)[:, None] + back_log_prob(back)
    told = []
    for level, x in enumerate(PLACES):
        q2, q1 = Normal(a2 * x, s2), Normal(a1 * x, s1)
        q1_given_2 = Normal(to_mean[0] * GRID + to_mean[1] * x, posterior_variance.sqrt())
        reconstruct = decoder.log_prob(torch.tensor(level))
        told.append({
            "prior": float(kl_divergence(q2, prior)),
            "step": float((q2.log_prob(GRID).exp() * kl_divergence(q1_given_2, back)).sum()) * STEP,
            "decode": -float((q1.log_prob(GRID).exp() * reconstruct).sum()) * STEP,
            "exact": -float((joint + reconstruct).flatten().logsumexp(0)) - 2 * math.log(STEP),
        })  # fmt: skip
    return told


def back_log_prob(back: Normal) -> Tensor:
    return Normal(back.mean[:, None], back.stddev[:, None]).log_prob(GRID)


@pytest.mark.parametrize("variance", ["small", "large", "learned"])
def test_the_bound_of_two_steps_is_that_by_hand(variance: str) -> None:
    """100,000 draws for each level: five standard errors, a false alarm in a million."""
    model = model_of(variance=variance)
    for level, wanted in enumerate(by_hand(variance)):
        x = torch.full((100_000, 1, 1, 1), level, dtype=torch.uint8)
        rows = Pictures(x, torch.full((len(x),), -1))
        with torch.no_grad():
            nats = model.nats(rows, torch.Generator().manual_seed(level))
        bound = wanted["prior"] + wanted["step"] + wanted["decode"]
        error = 5 * float(nats.std()) / math.sqrt(len(x))
        assert float(nats.mean()) == pytest.approx(bound, abs=error)
        assert error < 0.02 * bound
        assert wanted["exact"] < bound


def test_the_gap_of_the_bound_is_none_over_all_levels() -> None:
    """p of the levels sums to 1, so that −log p by quadrature is no bound of itself."""
    for variance in ("small", "learned"):
        assert sum(math.exp(-each["exact"]) for each in by_hand(variance)) == pytest.approx(1)


def test_a_term_is_the_divergence_of_two_normals() -> None:
    t, s = torch.tensor([-1.0, 2.0]).double(), torch.tensor([-0.5, 4.0]).double()
    x, guess = torch.tensor([[0.3], [-0.9]]).double(), torch.tensor([[0.5], [-0.8]]).double()
    kept_t, kept_s = t.sigmoid(), s.sigmoid()
    beta = 1 - kept_t / kept_s
    small = (1 - kept_s) / (1 - kept_t) * beta
    for fraction in (0.0, 0.3, 1.0):
        off = kept_s.sqrt() * beta / (1 - kept_t) * (x - guess)[:, 0]
        own = torch.exp(fraction * beta.log() + (1 - fraction) * small.log())
        wanted = kl_divergence(Normal(off, small.sqrt()), Normal(torch.zeros(2), own.sqrt()))
        torch.testing.assert_close(step_nats(x, guess, fraction, t, s)[:, 0], wanted)
    plain = 0.5 * (s.exp() - t.exp()) * (x - guess)[:, 0] ** 2
    torch.testing.assert_close(step_nats(x, guess, 0.0, t, s)[:, 0], plain)


def test_the_prior_term_is_the_divergence_of_two_normals() -> None:
    x, at = torch.tensor([[[-0.7, 0.2]]]).double(), torch.tensor(-3.0).double()
    q = Normal(at.sigmoid().sqrt() * x, (1 - at.sigmoid()).sqrt())
    wanted = kl_divergence(q, Normal(torch.zeros(1).double(), torch.ones(1).double()))
    torch.testing.assert_close(prior_nats(x, at), wanted.sum().reshape(1))


def test_the_decoder_sums_to_one_over_the_levels() -> None:
    z = torch.randn(4, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    every = [
        level_nats(torch.full((4, 1, 1, 1), level), z, torch.tensor(3.0), 17) for level in range(17)
    ]
    torch.testing.assert_close(torch.stack(every).neg().exp().sum(0), torch.ones(4).double())


def test_the_decoder_of_numbers_is_a_normal() -> None:
    x, z = torch.tensor([[0.4, -1.3]]).double(), torch.tensor([[0.3, -1.0]]).double()
    at = torch.tensor(2.0).double()
    kept = at.sigmoid()
    wanted = -Normal(z / kept.sqrt(), ((1 - kept) / kept).sqrt()).log_prob(x).sum(1)
    torch.testing.assert_close(number_nats(x, z, at), wanted)


@pytest.mark.parametrize("count", [1, 5, 999, 5000])
def test_drawn_steps_stand_for_all(count: int) -> None:
    """Over every offset the weighted sum is the sum over all steps."""
    levels = Schedule("linear").levels()
    shrinks = 1 / (1 + levels.exp()) * (1 + 0.5 * levels.sin())  # any error, at most one and a half
    terms = torch.cat([torch.zeros(1), -levels.exp().diff() * shrinks[1:]])
    offsets = 20_000 if count < 999 else 10
    offset = (torch.arange(offsets) + 0.5).double() / offsets
    places, weights = draw_steps(levels, count, offset)
    assert int(places.min()) >= 1
    total = float((weights * terms[places]).sum(1).mean())
    assert total == pytest.approx(float(terms[1:].sum()), rel=1e-3)
    if count >= 999:
        assert places.shape[1] == 999


def test_drawn_log_snrs_stand_for_the_integral() -> None:
    offset = (torch.arange(2000) + 0.5).double() / 2000
    drawn, weights = draw_log_snrs((-8.0, 5.0), 7, offset)
    grid = torch.linspace(-8, 5, 200_001, dtype=torch.float64)

    def term(log_snr: Tensor) -> Tensor:
        return (-0.1 * log_snr**2).exp()

    wanted = float(torch.trapezoid(term(grid), grid))
    assert float((weights * term(drawn)).sum(1).mean()) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("steps", [0, 30])
def test_normal_data_have_the_bound_of_the_formula(steps: int) -> None:
    """With the exact guess, which is off by s² / (1 + SNR s²). In continuous time the bound is the
    entropy itself; a chain costs more, by its sum. 20,000 draws; five standard errors.
    """
    deviation = 0.4
    denoising = Denoising((1, 1, 1), 0, SETTINGS | {"noise_steps": steps})

    class Exact(torch.nn.Module):
        def forward(self, z: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
            kept = log_snr.view(-1, 1, 1, 1).sigmoid()
            return kept.sqrt() * deviation**2 / (kept * deviation**2 + 1 - kept) * z

    denoising.network = Exact()
    x = deviation * torch.randn(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(5))

    def decode(z: Tensor, log_snr: Tensor) -> Tensor:
        return number_nats(x, z, log_snr)

    nats = denoising.bound(x, decode, 12, torch.Generator().manual_seed(6))
    entropy = 0.5 * math.log(2 * math.pi * math.e * deviation**2)
    wanted = entropy
    if steps:
        levels = Schedule("cosine", steps).levels()
        snr, kept = levels.exp(), float(levels[-1].sigmoid())
        off = deviation**2 / (1 + snr * deviation**2)
        prior = 0.5 * (kept * (deviation**2 - 1) - math.log(1 - kept))
        last = 0.5 * (math.log(2 * math.pi) - float(levels[0]) + 1)
        wanted = prior + 0.5 * float((-snr.diff() * off[1:]).sum()) + last
        assert wanted > entropy + 0.1
    error = 5 * float(nats.std()) / math.sqrt(len(x))
    assert float(nats.mean()) == pytest.approx(wanted, abs=error)
    assert error < 0.1
