"""A pass over points: its densities and sums are those of the formula, for every kind of
covariance, far from the origin and for components as narrow as a hair.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fledge.models.latent import gaussian_missing_pass
from fledge.models.latent.coordinates import measure_moments, whiten
from fledge.models.latent.gaussian_missing_pass import fill_missing
from fledge.models.latent.gaussian_mixture import KINDS, GaussianMixture, Kind
from fledge.models.latent.gaussian_pass import GaussianPass
from fledge.models.latent.moments import Moments
from fledge.models.latent.natural import write_naturally
from fledge.models.latent.pair_screens import LEAST, MetricScreen, MonomialScreen
from fledge.models.latent.pair_sums import share_out_pairs

pytest.importorskip("scipy")
from tests.models.latent.problems import (
    draw_mixture,
    draw_points,
    joint_by_scipy,
    moments_by_hand,
)


def a_pass(mixture: GaussianMixture, x: torch.Tensor) -> GaussianPass:
    filled = torch.where(x.isnan(), x.nanmean(0), x)
    mean, covariance = measure_moments(filled, None)
    diagonal = mixture.kind in ("diagonal", "spherical")
    return GaussianPass(
        mixture.kind, mixture.components, whiten(mean, covariance, diagonal=diagonal)
    )


def back(moments: Moments, passes: GaussianPass, kind: Kind) -> tuple:
    """Moments about the origin in the data's own coordinates."""
    at = passes.coordinates
    origin = (-at.centre @ at.matrix.T).expand_as(moments.centre)
    about = moments.move(origin)
    R = at.inverse
    if kind in ("full", "tied"):
        second = R @ about.second @ R.T
    else:
        second = about.second * R.diagonal().square()
    return about.count.numpy(), (about.first @ R.T).numpy(), second.numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far", [0.0, 1000.0])
def test_sums_and_density_are_those_of_the_formula(kind: Kind, far: float) -> None:
    x, mixture = draw_points(211, 3, 1, far=far), draw_mixture(kind, 4, 3, 2, far)
    weight = torch.from_numpy(np.random.default_rng(3).uniform(0, 2, 211))
    passes = a_pass(mixture, x)
    moments, density = passes.run(mixture, x, weight)
    count, first, second, wanted = moments_by_hand(mixture, x, weight)
    got = back(moments, passes, kind)
    if kind == "tied":
        second = second.sum(0)
    elif kind != "full":
        second = np.diagonal(second, axis1=1, axis2=2)
    assert density == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(got[0], count, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got[1], first, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got[2], second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_with_the_posterior_is_the_log_likelihood(kind: Kind) -> None:
    """ℓ = E_q log p(x, z) + H(q) + KL(q ‖ p(z | x)), the last term 0 for the exact q and summed out
    for another one.
    """
    x, mixture = draw_points(60, 2, 4), draw_mixture(kind, 3, 2, 5)
    joint = torch.from_numpy(joint_by_scipy(mixture, x))
    q = torch.from_numpy(np.random.default_rng(6).dirichlet(np.ones(3), 60))
    elbo = float((q * (joint - q.log())).sum())
    kl = float((q * (q.log() - mixture.responsibility(x).log())).sum())
    assert elbo + kl == pytest.approx(float(mixture.log_prob(x).sum()), rel=1e-9)
    moments, density = a_pass(mixture, x).run(mixture, x, None)
    r = mixture.responsibility(x)
    assert moments.entropy == pytest.approx(-float(torch.special.xlogy(r, r).sum()), rel=1e-9)
    assert density == pytest.approx(elbo + kl, rel=1e-12)


def test_a_narrow_component_far_away_loses_no_digits() -> None:
    """σ = 10⁻⁶ at a distance of 10: written out in monomials its density would have no digit."""
    random = np.random.default_rng(7)
    wide = random.normal(size=(200, 2)) * 10
    narrow = np.array([10.0, 10.0]) + 1e-6 * random.normal(size=(50, 2))
    x = torch.from_numpy(np.concatenate([wide, narrow]))
    mixture = GaussianMixture(
        "full",
        torch.tensor([0.8, 0.2], dtype=torch.float64),
        torch.tensor([[0.0, 0.0], [10.0, 10.0]], dtype=torch.float64),
        torch.stack([100 * torch.eye(2), 1e-12 * torch.eye(2)]).double(),
    )
    passes = a_pass(mixture, x)
    assert write_naturally(mixture, passes.coordinates).narrow == [1]
    moments, density = passes.run(mixture, x, None)
    *_, wanted = moments_by_hand(mixture, x, torch.ones(250, dtype=torch.float64))
    assert density == pytest.approx(wanted, rel=1e-9)
    own = moments.second[1] / moments.count[1]
    spread = (x[200:] - mixture.mean[1]).T @ (x[200:] - mixture.mean[1]) / 50
    A = passes.coordinates.matrix
    np.testing.assert_allclose(own.numpy(), (A @ spread @ A.T).numpy(), rtol=1e-6)


def test_a_point_that_no_component_reaches_has_a_finite_density() -> None:
    mixture = draw_mixture("full", 3, 2, 8)
    x = torch.cat([draw_points(50, 2, 9), torch.tensor([[1e4, -1e4]], dtype=torch.float64)])
    moments, density = a_pass(mixture, draw_points(50, 2, 9)).run(mixture, x, None)
    wanted = moments_by_hand(mixture, x, torch.ones(51, dtype=torch.float64))
    assert density == pytest.approx(wanted[3], rel=1e-9)
    np.testing.assert_allclose(moments.count.numpy(), wanted[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_are_integrated_out(kind: Kind) -> None:
    """Against a sum over a fine grid of what the missing value may be, and scipy's marginals."""
    mixture = draw_mixture(kind, 2, 2, 10)
    x = torch.tensor([[0.5, torch.nan], [torch.nan, -1.0], [1.0, 2.0]], dtype=torch.float64)
    grid = torch.linspace(-40, 40, 40_001, dtype=torch.float64)
    step = float(grid[1] - grid[0])
    r = mixture.responsibility(x)
    count, first, density = torch.zeros(2).double(), torch.zeros(2, 2).double(), 0.0
    for n, row in enumerate(x):
        lost = row.isnan().nonzero().flatten().tolist()
        whole = row.expand(len(grid), 2).clone() if lost else row[None]
        for d in lost:
            whole[:, d] = grid
        joint = mixture.log_joint(whole).exp() * (step if lost else 1.0)
        density += float(joint.sum().log())
        posterior = joint / joint.sum()
        np.testing.assert_allclose(r[n].numpy(), posterior.sum(0).numpy(), atol=1e-9)
        count += posterior.sum(0)
        first += posterior.T @ whole
    passes = a_pass(mixture, draw_points(50, 2, 9))
    moments, got = fill_missing(passes.coordinates, mixture, x, None)
    counts, firsts, _ = back(moments, passes, kind)
    assert got == pytest.approx(density, rel=1e-9)
    np.testing.assert_allclose(counts, count.numpy(), atol=1e-9)
    np.testing.assert_allclose(firsts, first.numpy(), atol=1e-8)
    np.testing.assert_allclose(mixture.log_joint(x).numpy(), joint_by_scipy(mixture, x), rtol=1e-9)


def test_columns_that_are_constant_or_say_the_same_have_coordinates() -> None:
    x = draw_points(40, 1, 11)
    x = torch.cat([x, 2 * x + 1, torch.full_like(x, 7.0)], 1)
    at = whiten(*measure_moments(x, None), diagonal=False)
    z = at.write(x, torch.empty(3, 40, dtype=torch.float64))
    assert bool(z.isfinite().all())
    assert float(z[0].var(correction=0)) == pytest.approx(1, rel=2e-3)
    assert float(z[2].abs().max()) < 1e-9
    np.testing.assert_allclose((at.inverse @ z + at.centre[:, None]).T.numpy(), x.numpy())


@pytest.mark.parametrize("kind", ["full", "diagonal", "spherical"])
@pytest.mark.parametrize("threads", [1, 2])
def test_single_precision_errs_in_the_seventh_digit(kind: Kind, threads: int) -> None:
    """And threads that share the chunks give the same sums as one."""
    x, mixture = draw_points(9000, 3, 12, far=1000), draw_mixture(kind, 4, 3, 13, 1000)
    weight = torch.from_numpy(np.random.default_rng(3).uniform(0, 2, 9000))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        exact, density = a_pass(mixture, x).run(mixture, x, weight)
        torch.set_num_threads(threads)
        other, coarse = a_pass(mixture, x).run(mixture, x, weight, single=True)
        shared, same = a_pass(mixture, x).run(mixture, x, weight)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert coarse == pytest.approx(density, rel=1e-6)
    np.testing.assert_allclose(other.count, exact.count, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(other.second, exact.second, rtol=1e-3, atol=1e-2)
    assert same == pytest.approx(density, rel=1e-13)
    np.testing.assert_allclose(shared.second, exact.second, rtol=1e-10)


def draw_apart(N: int, K: int, D: int, seed: int) -> tuple[torch.Tensor, GaussianMixture]:
    """Clusters far enough apart that a point is of one or two."""
    random = np.random.default_rng(seed)
    mixture = draw_mixture("full", K, D, seed)
    mixture = GaussianMixture("full", mixture.weight, 4 * mixture.mean, mixture.covariance)
    which = random.choice(K, N, p=mixture.weight.numpy())
    root = np.linalg.cholesky(mixture.covariance.numpy())[which]
    noise = np.einsum("nij,nj->ni", root, random.normal(size=(N, D)))
    return torch.from_numpy(mixture.mean.numpy()[which] + noise), mixture


@pytest.mark.parametrize("threads", [1, 2])
def test_pairs_that_are_chosen_make_the_sums_of_all_pairs(threads: int) -> None:
    """Between clusters far apart, where few components have a share of a point: density and sums
    are the formula's, and so is what is known of points between two clusters and far away.
    """
    x, mixture = draw_apart(700, 24, 3, 20)
    between = (mixture.mean[:1] + mixture.mean[1:2]) / 2
    x = torch.cat([x, between, torch.full((1, 3), 1e5, dtype=torch.float64)])
    weight = torch.from_numpy(np.random.default_rng(3).uniform(0, 2, len(x)))
    passes, before = a_pass(mixture, x[:700]), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        moments, density = passes.run(mixture, x, weight)
    finally:
        torch.set_num_threads(before)
    count, first, second, wanted = moments_by_hand(mixture, x, weight)
    assert density == pytest.approx(wanted, rel=1e-12)
    got = back(moments, passes, "full")
    np.testing.assert_allclose(got[0], count, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got[1], first, rtol=1e-8, atol=1e-6)
    np.testing.assert_allclose(got[2], second, rtol=1e-8, atol=1e-4)
    r = mixture.responsibility(x)
    entropy = -float(torch.special.xlogy(r, r).sum(1) @ weight)
    assert moments.entropy == pytest.approx(entropy, abs=1e-6)


@pytest.mark.parametrize("kind", [MetricScreen, MonomialScreen])
@pytest.mark.parametrize("far", [0.0, 1e3, 1e5, 1e12])
def test_no_pair_with_a_share_is_left_out(
    kind: type[MetricScreen | MonomialScreen], far: float
) -> None:
    """However far a point is, and however little single precision knows of it there: components
    that differ in their first two coordinates alone share a point far along the third.
    """
    random = np.random.default_rng(21)
    mean = torch.from_numpy(random.normal(size=(24, 3)) * [30, 30, 0])
    shape = torch.diag_embed(torch.from_numpy(random.uniform(0.5, 2, (24, 3))))
    mixture = GaussianMixture("full", torch.full((24,), 1 / 24).double(), mean, shape)
    x = mean[random.integers(0, 24, 400)] + torch.from_numpy(random.normal(size=(400, 3)))
    passes = a_pass(mixture, x)
    x[:40] = (mean[:1] + mean[1:2]) / 2
    x[:40, 2] = far * torch.linspace(1, 2, 40, dtype=torch.float64)
    screen, least = kind(write_naturally(mixture, passes.coordinates)), LEAST[torch.float64]
    chosen = screen.choose(passes.coordinates.write_rows(x), least).pairs
    joint = joint_by_scipy(mixture, x)
    matters = joint > joint.max(1, keepdims=True) - least
    assert not (matters.T & ~chosen).any()
    # without its far points it is worth its while
    assert chosen[:, 40:].mean() < 0.15


@pytest.mark.parametrize("far", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("kind", [MetricScreen, MonomialScreen])
def test_bounds_hold_but_for_the_rounding_that_is_stated(
    kind: type[MetricScreen | MonomialScreen], far: float
) -> None:
    """Near the data and far from it, where single precision errs by more than it knows."""
    x, mixture = draw_apart(300, 12, 5, 24)
    passes = a_pass(mixture, x)
    x *= far
    natural = write_naturally(mixture, passes.coordinates)
    z = passes.coordinates.write_rows(x)
    exact = torch.from_numpy(joint_by_scipy(mixture, x)).T
    exact -= natural.top + passes.coordinates.log_det
    screen = kind(natural)
    above, below = screen.bound(z)
    stated = screen.rounding.bound(torch.linalg.vector_norm(z, dim=1))
    assert bool((above.double() + stated >= exact).all())
    assert bool((below.double() - stated <= exact).all())
    if kind is MonomialScreen:  # both are the quadratic form itself: what is stated is needed
        assert float(((above - exact).abs() / stated).max()) > 1e-3


def test_densities_far_from_where_they_were_sought_keep_their_digits() -> None:
    """Log-joints of −3, −2000 and −1500, −1501 with starts that are off by a thousand nats."""
    joint = np.array([-3.0, -2000.0, -1500.0, -1501.0])
    point = np.array([0, 0, 1, 1])
    for near in ([-3.0, -1500.0], [-1003.0, -500.0], [np.nan, 0.0]):
        share, log_p = share_out_pairs(joint, point, np.array(near))
        np.testing.assert_allclose(log_p, [-3, -1500 + np.log1p(np.exp(-1))], rtol=1e-14)
        np.testing.assert_allclose(share[:2], [1, 0], atol=1e-300)
        np.testing.assert_allclose(share[2:].sum(), 1, rtol=1e-14)


def test_a_mixture_whose_components_overlap_is_summed_as_ever() -> None:
    """24 components, every point of most: the products of all, to the same digits."""
    x, mixture = draw_points(300, 3, 22), draw_mixture("full", 24, 3, 23)
    passes = a_pass(mixture, x)
    moments, density = passes.run(mixture, x, None)
    assert (0, torch.float64) in passes.buffers  # all products were made
    count, *_, wanted = moments_by_hand(mixture, x, torch.ones(300, dtype=torch.float64))
    assert density == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(moments.count.numpy(), count, rtol=1e-9)


def test_blocks_of_points_that_lack_values_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture, x = draw_mixture("full", 3, 2, 10), draw_points(40, 2, 9)
    x[::3, 0], x[::7, 1] = torch.nan, torch.nan
    weight = torch.from_numpy(np.random.default_rng(3).uniform(0, 2, 40))
    at = a_pass(mixture, x).coordinates
    whole, density = fill_missing(at, mixture, x, weight)
    monkeypatch.setattr(gaussian_missing_pass, "BLOCK", 7)
    parts, same = fill_missing(at, mixture, x, weight)
    assert same == pytest.approx(density, rel=1e-12)
    assert same == pytest.approx(float(mixture.log_prob(x) @ weight), rel=1e-12)
    assert parts.entropy == pytest.approx(whole.entropy, rel=1e-10)
    np.testing.assert_allclose(parts.second, whole.second, rtol=1e-10)
