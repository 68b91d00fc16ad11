"""The bounds of a VAE against integrals over its code, and what its parts promise."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from fledge.exact.integrated_code import IntegratedCode, lay_grid, quadrature
from fledge.images.pictures import Pictures, PictureShape
from fledge.models.images.vae import VAE
from fledge.models.normal_codes import kl_to_standard

SHAPE = PictureShape(1, 2, 2, 2)


def make_vae(latents: int, network: str = "mlp", shape: PictureShape = SHAPE) -> VAE:
    """Far from its start, so that q is no standard normal and far from the posterior."""
    torch.manual_seed(latents)
    settings = {"latents": latents, "network": network, "width": 16, "layers": 1, "draws": 4}
    model = VAE(shape, settings).eval()
    with torch.no_grad():
        # The place comes last: of the other weights the quadrature below is known to be exact.
        for weight in sorted(model.parameters(), key=lambda each: each is model.place):
            weight.mul_(1.5).add_(0.2 * torch.randn(weight.shape))
    return model


def integrate(model: VAE, x: Tensor, points: int) -> IntegratedCode:
    z, cell = lay_grid(model.latents, points=points)
    with torch.no_grad():
        logits = model.decode(z.float()).double().flatten(1)
    ink = x.double().flatten()
    log_p = -(ink * (-logits).exp().log1p() + (1 - ink) * logits.exp().log1p()).sum(1)
    return IntegratedCode(log_p, z, cell)


PICTURE = torch.tensor([[[[1, 0], [1, 1]]]], dtype=torch.uint8)


@pytest.mark.parametrize(("latents", "points", "nodes"), [(1, 4001, 40), (2, 301, 24)])
def test_the_likelihood_is_the_bound_and_the_distance_to_the_posterior(
    latents: int, points: int, nodes: int
) -> None:
    model = make_vae(latents)
    whole = integrate(model, PICTURE, points)
    noise, weight = quadrature(latents, nodes)
    with torch.no_grad():
        mean, log_deviation = model.encode(PICTURE)
        log_p, log_ratio = model.log_weights(PICTURE, mean, log_deviation, noise.float()[None])
    elbo = float(((log_p + log_ratio)[0].double() * weight).sum())
    deviation = log_deviation[0].double().exp()
    assert elbo == pytest.approx(whole.bound(mean[0], deviation), abs=2e-4)
    assert elbo + whole.gap(mean[0], deviation) == pytest.approx(whole.evidence, abs=2e-4)
    assert whole.gap(mean[0], deviation) > 0.05  # or the test would not tell them apart
    kl = float(kl_to_standard(mean, log_deviation).sum())
    assert elbo == pytest.approx(float((log_p[0].double() * weight).sum()) - kl, abs=2e-4)


def test_the_model_sums_to_one_over_all_pictures() -> None:
    model = make_vae(1)
    pictures = torch.tensor(list(itertools.product([0, 1], repeat=4)), dtype=torch.uint8)
    each = [integrate(model, x.view(1, 1, 2, 2), 2001).evidence for x in pictures]
    assert sum(map(math.exp, each)) == pytest.approx(1, abs=1e-6)


def test_the_importance_weighted_bound_rises_with_codes_and_stays_below_the_likelihood() -> None:
    """In expectation, by quadrature over all K codes at once."""
    model = make_vae(1)
    whole = integrate(model, PICTURE, 4001)
    bounds: list[float] = []
    for K, nodes in ((1, 40), (2, 40), (3, 40)):
        noise, weight = quadrature(K, nodes)  # [N, K]: a row is K codes of one number
        with torch.no_grad():
            mean, log_deviation = model.encode(PICTURE)
            rows = PICTURE.expand(len(noise), -1, -1, -1)
            log_p, log_ratio = model.log_weights(
                rows, mean.expand(len(noise), 1), log_deviation.expand(len(noise), 1),
                noise.float()[..., None],
            )  # fmt: skip
        each = (log_p + log_ratio).double().logsumexp(1) - math.log(K)
        bounds.append(float((each * weight).sum()))
    assert bounds[0] + 0.01 < bounds[1] < bounds[2] - 0.005
    assert bounds[2] < whole.evidence


def test_judged_nats_are_above_the_exact_ones_and_near_with_many_draws() -> None:
    """200 equal pictures. Of one code each, nats are on average those of the bound; of 1,024 those
    of the likelihood: to 4.5 standard errors (by chance once in 10⁵).
    """
    model = make_vae(1)
    whole = integrate(model, PICTURE, 4001)
    exact = -whole.evidence
    rows = Pictures(PICTURE.expand(200, -1, -1, -1), torch.zeros(200, dtype=torch.int64))
    said: dict[int, Tensor] = {}
    with torch.no_grad():
        for draws in (1, 1024):
            model.draws = draws
            said[draws] = model.nats(rows, torch.Generator().manual_seed(7))
        mean, log_deviation = model.encode(PICTURE)
    gap = whole.gap(mean[0], log_deviation[0].exp())
    for draws, expected in ((1, exact + gap), (1024, exact)):
        error = 4.5 * float(said[draws].std()) / math.sqrt(200)
        assert float(said[draws].mean()) == pytest.approx(expected, abs=error + 1e-4)


def test_kl_to_the_standard_normal_is_torch_s() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, log_deviation = torch.randn(2, 5, 3, generator=generator)
    theirs = kl_divergence(Normal(mean, log_deviation.exp()), Normal(0.0, 1.0))
    assert torch.allclose(kl_to_standard(mean, log_deviation), theirs, atol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("shape", [PictureShape(1, 8, 8, 17), PictureShape(3, 7, 6, 256)])
def test_what_is_drawn_has_the_shape_and_levels_of_the_data(
    network: str, shape: PictureShape
) -> None:
    model = make_vae(3, network, shape)
    with torch.no_grad():
        drawn = model.sample(5, torch.Generator().manual_seed(0))
    assert drawn.shape == (5, *shape.size)
    assert drawn.dtype == torch.uint8
    assert int(drawn.max()) < shape.levels
    assert model.reconstruct(drawn).shape == drawn.shape


def test_a_convolution_s_code_depends_on_every_pixel() -> None:
    model = make_vae(2, "conv", PictureShape(1, 8, 8, 17))
    x = torch.zeros(1, 1, 8, 8, dtype=torch.uint8).repeat(65, 1, 1, 1)
    x.view(65, 64)[torch.arange(1, 65), torch.arange(64)] = 16
    with torch.no_grad():
        mean = model.encode(x)[0]
    assert float((mean[1:] - mean[0]).abs().amax(1).min()) > 1e-5


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_it_begins_as_a_histogram_of_what_it_learns_from(network: str) -> None:
    """Where its last layer says nothing, p is (count + 1) / (N + 2) of each place by itself."""
    x = (torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).byte()
    x[:, 0, 0, 0] = 0
    model = make_vae(2, network, PictureShape(1, 4, 4, 2))
    model.begin_at_counts(x)
    last = model.to_picture if network == "mlp" else model.to_picture[-1]
    with torch.no_grad():
        for weight in last.parameters():
            weight.zero_()
        said = model.log_likelihood(x, torch.randn(50, 2)).double()
    p = (x.double().sum(0) + 1) / 52
    wanted = torch.where(x == 1, p, 1 - p).log().flatten(1).sum(1)
    assert torch.allclose(said, wanted, atol=1e-4)
