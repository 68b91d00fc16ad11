"""A Bayesian mixture by coordinate ascent and by natural gradients: its bound against the evidence,
against scikit-learn's steps, and on random problems.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fledge.algorithms.latent.coordinate_ascent import CoordinateAscent
from fledge.algorithms.latent.posterior_step import bound_of_sums, measure_terms
from fledge.errors import UserError
from fledge.exact.conjugate_mixture import Conjugate, enumerate_assignments
from fledge.models.latent.bayesian_mixture import BayesianKind, BayesianMixture, WeightPrior
from fledge.rows.points import Points, from_array
from fledge.sample.points import Block, PointBlocks
from tests.models.latent.problems import draw_points


def settings_of(**fields: Any) -> CoordinateAscent.Settings:
    return CoordinateAscent.Settings.model_validate(fields)


def begin(x: Tensor, weight: Tensor | None = None, **fields: Any) -> tuple[CoordinateAscent, Block]:
    points = from_array(x, weight=weight)
    algorithm = CoordinateAscent(settings_of(**({"tolerance": 0, "starts": 1} | fields)), seed=3)
    algorithm.begin(points)
    return algorithm, Block(points, 0, 1)


def prior_of(algorithm: CoordinateAscent) -> Conjugate:
    p = algorithm.prior
    assert p is not None
    scale = p.scale if p.kind == "full" else torch.diag(p.scale)
    return Conjugate(p.concentration, p.mean, p.mean_precision, p.degrees, scale)


@pytest.mark.parametrize("width", [1, 3])
def test_one_component_has_no_gap(width: int) -> None:
    """q is then the posterior itself, and the bound is the evidence."""
    x = draw_points(25, width, 1)
    algorithm, batch = begin(x, k=1, degrees=width + 1.5, mean_precision=0.3)
    algorithm.update(batch)
    elbo = algorithm.update(batch)["elbo"] * 25
    assert elbo == pytest.approx(prior_of(algorithm).log_evidence(x), abs=1e-9)


def test_variances_alone_are_columns_apart() -> None:
    x = draw_points(25, 3, 2)
    algorithm, batch = begin(x, k=1, covariance="diagonal", degrees=2.5)
    algorithm.update(batch)
    elbo = algorithm.update(batch)["elbo"] * 25
    prior, alone = prior_of(algorithm), 0.0
    for d in range(3):
        own = Conjugate(
            1, prior.m[d : d + 1], prior.kappa, prior.nu, prior.psi[d : d + 1, d : d + 1]
        )
        alone += own.log_evidence(x[:, d : d + 1])
    assert elbo == pytest.approx(alone, abs=1e-9)


def test_the_bound_is_below_the_evidence_of_every_assignment() -> None:
    x = draw_points(8, 1, 4, groups=2)
    algorithm, batch = begin(x, k=2, concentration=1.5)
    bounds = [algorithm.update(batch)["elbo"] * 8 for _ in range(40)]
    exact = enumerate_assignments(x, prior_of(algorithm), 2)
    assert bounds[-1] <= exact.log_evidence
    assert exact.log_evidence - bounds[-1] < 2.5  # log 2 of it for the two names of each cluster
    grid = torch.linspace(-60, 60, 40_001, dtype=torch.float64)[:, None]
    assert float(exact.density(grid).sum()) * 0.003 == pytest.approx(1, abs=1e-2)


def test_the_terms_are_the_bound_by_another_way() -> None:
    """Of the sums alone, by quadratic forms; and q(z) or q(θ), each the best, only raise it."""
    for kind in ("full", "diagonal"):
        for prior in ("dirichlet", "process"):
            x = draw_points(60, 2, 5)
            if prior == "process":  # some values missing, of which q is too
                x[::3, 0], x[::7, 1] = torch.nan, torch.nan
            algorithm, batch = begin(x, k=5, covariance=kind, prior=prior)
            at = algorithm.coordinates
            assert at is not None
            for _ in range(10):
                before = algorithm.model
                assert before is not None
                moments, density = algorithm.expect(batch.points, before)
                terms = measure_terms(before, moments, density)
                parts = sum(value for name, value in terms.items() if name != "elbo")
                assert parts == pytest.approx(terms["elbo"], abs=1e-8)
                assert bound_of_sums(before, at, moments) == pytest.approx(parts, abs=1e-8)
                algorithm.update(batch)
                assert algorithm.model is not None
                assert bound_of_sums(algorithm.model, at, moments) >= parts - 1e-9


@settings(max_examples=300, deadline=None)
@given(
    N=st.integers(1, 30), D=st.integers(1, 3), K=st.integers(1, 6), seed=st.integers(0, 10_000),
    kind=st.sampled_from(["full", "diagonal"]), prior=st.sampled_from(["dirichlet", "process"]),
    copies=st.booleans(), concentration=st.sampled_from([None, 1e-3, 5.0]),
)  # fmt: skip
def test_it_never_lowers_the_bound(
    N: int, D: int, K: int, seed: int, kind: BayesianKind, prior: WeightPrior, copies: bool,
    concentration: float | None,
) -> None:  # fmt: skip
    x = draw_points(N, D, seed)
    x = x[torch.arange(N) % max(1, N // 3)] if copies else x
    weight = torch.rand(N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    algorithm, batch = begin(
        x, weight, k=min(K, N), covariance=kind, prior=prior, concentration=concentration
    )
    bounds = [algorithm.update(batch)["elbo"] for _ in range(6)]
    assert all(math.isfinite(bound) for bound in bounds)
    scale = 1 + max(map(abs, bounds))
    assert all(after >= before - 1e-9 * scale for before, after in pairwise(bounds))
    assert math.isfinite(algorithm.log_likelihood(batch.points))


def from_peer(peer: Any, prior: Any) -> BayesianMixture:
    """scikit-learn keeps covariances as scale over degrees."""
    concentration = peer.weight_concentration_
    if isinstance(concentration, tuple):
        concentration = np.stack(concentration, 1)
    scale = peer.covariances_ * peer.degrees_of_freedom_[:, None, None]
    return BayesianMixture(
        prior, *(torch.from_numpy(np.ascontiguousarray(each)) for each in (
            concentration, peer.mean_precision_, peer.means_, peer.degrees_of_freedom_, scale,
        )),
    )  # fmt: skip


@pytest.mark.parametrize("weights", ["dirichlet", "process"])
def test_scikit_learns_steps_from_the_same_start(weights: WeightPrior) -> None:
    """Its bound is taken after q(θ) has moved, for the q(z) before, and leaves out every constant
    of the prior and ½ N D log 2π: so it is ours but for one number, the same at every step.
    """
    mixture = pytest.importorskip("sklearn.mixture")
    x = draw_points(120, 3, 6)
    algorithm, batch = begin(x, k=4, prior=weights, concentration=0.7, degrees=5, mean_precision=2)
    p = algorithm.prior
    assert p is not None
    kind = {"dirichlet": "dirichlet_distribution", "process": "dirichlet_process"}[weights]
    peer: Any = mixture.BayesianGaussianMixture(
        n_components=4, reg_covar=0, covariance_prior=p.scale.numpy(),
        mean_precision_prior=2, degrees_of_freedom_prior=5, weight_concentration_prior=0.7,
        mean_prior=p.mean.numpy(), weight_concentration_prior_type=kind,
        max_iter=1,
    )  # fmt: skip
    with pytest.warns(Warning, match="did not converge"):
        peer.fit(x.numpy())
    share = torch.rand(120, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    peer._initialize(x.numpy(), share.softmax(1).numpy())
    model = from_peer(peer, p)
    algorithm.begin(batch.points, model)
    at = algorithm.coordinates
    assert at is not None
    apart = []
    for _ in range(8):
        log_norm, log_r = peer._e_step(x.numpy())
        peer._m_step(x.numpy(), log_r)
        theirs = peer._compute_lower_bound(log_r, log_norm)
        before = algorithm.model
        assert before is not None
        moments, _ = algorithm.expect(batch.points, before)
        algorithm.update(batch)
        after = algorithm.model
        assert after is not None
        wanted = from_peer(peer, p)
        for name in ("concentration", "mean_precision", "mean", "degrees", "scale"):
            torch.testing.assert_close(
                getattr(after, name), getattr(wanted, name), rtol=1e-9, atol=1e-9
            )
        apart.append(bound_of_sums(after, at, moments) - theirs)
    assert max(apart) - min(apart) < 1e-7
    after = algorithm.model
    assert after is not None
    torch.testing.assert_close(
        after.responsibility(x),
        torch.from_numpy(peer.predict_proba(x.numpy())),
        rtol=1e-8,
        atol=1e-9,
    )


def test_the_predictive_density_is_the_exact_one_of_one_component() -> None:
    x = draw_points(9, 1, 7)
    algorithm, batch = begin(x, k=1, degrees=3)
    algorithm.update(batch)
    assert algorithm.model is not None
    grid = torch.linspace(-9, 9, 50, dtype=torch.float64)[:, None]
    exact = enumerate_assignments(x, prior_of(algorithm), 1).density(grid)
    torch.testing.assert_close(algorithm.model.log_prob(grid), exact.log(), rtol=1e-9, atol=1e-9)


def test_a_natural_step_of_all_points_is_coordinate_ascent() -> None:
    x = draw_points(60, 2, 8)
    ascent, batch = begin(x, k=3)
    natural, _ = begin(x, k=3, inference="svi")
    for _ in range(4):
        assert ascent.update(batch) == natural.update(batch)


def test_natural_gradients_come_near_in_fewer_passes() -> None:
    x = draw_points(6_000, 2, 9, groups=5)
    ascent, batch = begin(x, k=6)
    best = max(ascent.update(batch)["elbo"] for _ in range(60))
    natural, _ = begin(x, k=6, inference="svi", delay=5)
    blocks = PointBlocks(batch.points, 200, 0)
    for _ in range(5 * blocks.of):
        assert math.isfinite(natural.update(next(blocks))["elbo"])
    model = natural.model
    assert model is not None
    moments, density = natural.expect(batch.points, model)
    assert measure_terms(model, moments, density)["elbo"] / 6_000 > best - 5e-3


def test_a_process_leaves_out_what_it_does_not_need() -> None:
    x = draw_points(300, 2, 10)
    algorithm, batch = begin(x, k=10, prior="process", concentration=0.5, tolerance=1e-7)
    used = 10.0
    while not algorithm.done:
        used = algorithm.update(batch)["used_components"]
    assert used <= 6
    model = algorithm.model
    assert model is not None
    assert float(model.weight.sum()) == pytest.approx(1)


def test_mixed_precision_ends_where_double_does() -> None:
    x = draw_points(3_000, 4, 13, groups=4)
    ends = []
    for precision in ("double", "mixed"):
        algorithm, batch = begin(x, k=5, precision=precision, tolerance=1e-8)
        while not algorithm.done:
            algorithm.update(batch)
        assert algorithm.precise
        ends.append(algorithm.elbo)
    assert ends[1] == pytest.approx(ends[0], abs=1e-6)


def test_what_it_cannot_take_is_said() -> None:
    x = draw_points(20, 3, 11)
    with pytest.raises(UserError, match="needs more than 2"):
        begin(x, k=2, degrees=1.5)


def test_it_goes_on_where_it_was(tmp_path: Any) -> None:
    x = draw_points(60, 2, 12)
    points: Points = from_array(x)
    first = CoordinateAscent(settings_of(k=3, inference="svi"))
    blocks = PointBlocks(points, 20, 0)
    first.begin(points)
    for _ in range(4):
        first.update(next(blocks))
    second = CoordinateAscent(settings_of(k=3, inference="svi"))
    second.load_state_dict(first.state_dict())
    batch = next(blocks)
    assert first.update(batch) == second.update(batch)
