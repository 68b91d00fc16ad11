"""Mixtures of categoricals and Bernoullis: every sum against enumeration, and EM never falls."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.algorithms.latent.discrete_em import BernoulliEM, DiscreteEM
from fledge.errors import UserError
from fledge.models.latent.discrete_mixture import DiscreteMixture
from fledge.rows.points import Points, as_levels, from_array
from fledge.sample.points import Block

LEVELS = (("a", "b"), ("x", "y", "z"), ("0", "1"))


def draw_mixture(seed: int, K: int = 2) -> DiscreteMixture:
    random = np.random.default_rng(seed)
    chance = np.concatenate([random.dirichlet(np.ones(len(c)), K) for c in LEVELS], 1)
    weight = random.dirichlet(np.ones(K))
    return DiscreteMixture(torch.from_numpy(weight), torch.from_numpy(chance), LEVELS)


def joint_by_hand(model: DiscreteMixture, row: tuple[int, ...], k: int) -> float:
    chance, start = float(model.weight[k]), 0
    for code, each in zip(row, model.levels, strict=True):
        chance *= float(model.chance[k, start + code])
        start += len(each)
    return chance


def test_densities_sum_to_one_and_are_the_products() -> None:
    model = draw_mixture(0)
    rows = list(itertools.product(range(2), range(3), range(2)))
    by_hand = [[joint_by_hand(model, row, k) for k in range(2)] for row in rows]
    x = torch.tensor(rows).double()
    np.testing.assert_allclose(model.log_joint(x).exp(), by_hand, rtol=1e-12)
    assert float(model.log_prob(x).exp().sum()) == pytest.approx(1)


def test_a_missing_value_is_summed_over() -> None:
    model = draw_mixture(1)
    lost = torch.tensor([[1, torch.nan, 0]], dtype=torch.float64)
    every = torch.tensor([[1, code, 0] for code in range(3)]).double()
    wanted = float(model.log_prob(every).logsumexp(0))
    assert float(model.log_prob(lost)) == pytest.approx(wanted, rel=1e-12)


def test_one_step_is_weighted_counting() -> None:
    """Responsibilities and frequencies written out in loops."""
    first = draw_mixture(2)
    x, _ = first.sample(50, torch.Generator().manual_seed(0))
    start = draw_mixture(3)
    em = DiscreteEM(DiscreteEM.Settings(k="2", smoothing=0))
    points = Points(x, ("p", "q", "r"), levels=LEVELS)
    em.begin(points, start)
    elbo = em.update(Block(points, 0, 1))["elbo"]
    counts, weight, log_p = np.zeros((2, 7)), np.zeros(2), 0.0
    for row in x.long().tolist():
        joint = np.array([joint_by_hand(start, tuple(row), k) for k in range(2)])
        log_p += np.log(joint.sum())
        r = joint / joint.sum()
        weight += r
        for d, code in enumerate(row):
            counts[:, (0, 2, 5)[d] + code] += r
    assert elbo == pytest.approx(log_p / 50)
    assert em.model is not None
    np.testing.assert_allclose(em.model.weight, weight / 50)
    np.testing.assert_allclose(em.model.chance[:, 2:5], counts[:, 2:5] / weight[:, None])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 4), st.sampled_from([0.0, 0.01, 2.0])
)
def test_em_never_falls(seed: int, N: int, K: int, smoothing: float) -> None:
    random = np.random.default_rng(seed)
    x = random.integers(0, 3, (N, 3)).astype(float)
    x[random.random((N, 3)) < 0.1] = np.nan
    x[0] = 0
    points = as_levels(from_array(torch.from_numpy(x)))
    em = DiscreteEM(DiscreteEM.Settings(k=str(min(K, N)), smoothing=smoothing, starts=1))
    bounds = [em.update(Block(points, 0, 1))["elbo"] for _ in range(8)]
    assert all(b >= a - 1e-10 for a, b in itertools.pairwise(bounds))
    assert np.isfinite(bounds).all()


def test_known_labels_are_counted() -> None:
    x, label = draw_mixture(4).sample(200, torch.Generator().manual_seed(1))
    points = Points(x, ("p", "q", "r"), None, label, ("u", "v"), levels=LEVELS)
    em = DiscreteEM(DiscreteEM.Settings(k="2", smoothing=0))
    em.update(Block(points, 0, 1))
    assert em.model is not None
    share = [float((x[label == k, 0] == 1).double().mean()) for k in range(2)]
    np.testing.assert_allclose(em.model.chance[:, 1], share)


def test_a_bernoulli_has_two_values() -> None:
    points = as_levels(from_array(torch.tensor([[0.0], [1.0], [2.0]]).double()))
    with pytest.raises(UserError, match=r"x1 has 3 values \(0, 1, 2, …\), and a Bernoulli has 2"):
        BernoulliEM(BernoulliEM.Settings(k="1")).begin(points)
