"""The bounds of a VAE of sentences with one unit, held against log p(x) by quadrature."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from fledge.models.language.text_vae import TextVAE
from fledge.models.normal_codes import kl_to_standard
from fledge.text.sentences import SentenceRows
from tests.models.language.sentences import SMALL, rows_of, spread, tokenizer

TEXTS = ("", "a", "b", "ab", "bba")
COPIES, DRAWS = 2000, 3
ALL = COPIES * DRAWS  # of each sentence


@pytest.fixture(scope="module")
def model() -> TextVAE:
    made = TextVAE(tokenizer(), {**SMALL, "draws": DRAWS})
    spread(made, seed=4)
    with torch.no_grad():  # posteriors within ±12, where the quadrature is, and far from the prior
        made.to_posterior.weight.mul_(0.3)
        made.to_posterior.bias.copy_(torch.tensor([0.3, 0.0]))
    return made.eval().double()


def integrate(model: TextVAE, rows: SentenceRows) -> tuple[Tensor, Tensor]:
    """log p(x) = log ∫ p(z) p(x | z) dz, and the ELBO by the same points.  -> [B] twice"""
    z = torch.linspace(-12, 12, 2401, dtype=torch.float64)
    width = float(z[1] - z[0])
    spoken = torch.stack(
        [
            model.coder.log_likelihood(rows[torch.full((len(z),), n)], z[:, None]).double()
            for n in range(len(rows))
        ]
    )  # [B, points]
    joint = spoken + Normal(0.0, 1.0).log_prob(z)
    log_p = joint.logsumexp(1) + math.log(width)
    mean, log_deviation = model.posterior(rows)
    q = Normal(mean.double(), log_deviation.double().exp()).log_prob(z)  # [B, points]
    elbo = (q.exp() * (joint - q)).sum(1) * width
    return log_p, elbo


def test_both_bounds_by_quadrature(model: TextVAE) -> None:
    """The mean of the log weights is the ELBO, and the log of their mean log p(x): each within 5
    deviations of its own noise, a false alarm once in a million.
    """
    rows = rows_of(*TEXTS)
    with torch.no_grad():
        log_p, elbo = integrate(model, rows)
    weights = draw_weights(model, rows)
    assert bool((elbo < log_p - 1e-3).all())
    noise = weights.std(1) / math.sqrt(ALL)
    assert bool(((weights.mean(1) - elbo).abs() < 5 * noise).all())
    highest = weights.amax(1)
    share = (weights - highest[:, None]).exp()
    noise = share.std(1) / share.mean(1) / math.sqrt(ALL)
    assert bool((noise < 0.05).all())
    assert bool(((share.mean(1).log() + highest - log_p).abs() < 5 * noise).all())


def draw_weights(model: TextVAE, rows: SentenceRows) -> Tensor:
    """[B, ALL]"""
    with torch.no_grad():
        many = rows[torch.arange(len(rows)).repeat_interleave(COPIES)]
        return model.log_weights(many, torch.Generator().manual_seed(7)).view(len(rows), ALL)


def test_the_bound_rises_with_the_draws(model: TextVAE) -> None:
    weights = draw_weights(model, rows_of(*TEXTS))
    bounds = [
        float((weights.view(len(TEXTS), -1, k).logsumexp(2) - math.log(k)).mean())
        for k in (1, 5, 50, 1000)
    ]
    assert bounds == sorted(bounds)
    assert bounds[-1] - bounds[0] > 0.05


def test_nats_are_less_the_log_of_the_mean_weight(model: TextVAE) -> None:
    rows = rows_of(*TEXTS)
    with torch.no_grad():
        nats = model.nats(rows, torch.Generator().manual_seed(7))
        weights = model.log_weights(rows, torch.Generator().manual_seed(7))
    torch.testing.assert_close(nats, -weights.exp().mean(1).log())


def test_the_kl_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_deviation = (torch.randn(5, 3, generator=generator) for _ in range(2))
    wanted = kl_divergence(Normal(mean, log_deviation.exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_standard(mean, log_deviation), wanted)


def test_between_two_sentences_the_ends_are_what_is_said_again() -> None:
    model = TextVAE(tokenizer(), {**SMALL, "latents": 3})
    spread(model, seed=9)
    model.eval()
    z = model.embed(["ab", "bbb"])
    path = model.between(z[0], z[1], 5)
    torch.testing.assert_close(path[[0, -1]], z)
    torch.testing.assert_close(path[2], (z[0] + z[1]) / 2)
    said = model.say(path)
    assert [said[0], said[-1]] == model.say(z)


def test_varied_vectors_stay_of_the_prior() -> None:
    """If z is N(0, 1), so is what comes of it: its variance within 5 deviations."""
    model = TextVAE(tokenizer(), SMALL)
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(20_000, 1, generator=generator)
    moved = model.vary(z, 0.6, generator)
    assert abs(float(moved.var()) - 1) < 5 * math.sqrt(2 / 20_000)
    assert abs(float((moved * z).mean()) - 0.8) < 5 * math.sqrt(1.64 / 20_000)
    assert torch.equal(model.vary(z, 0.0, generator), z)
