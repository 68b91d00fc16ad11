"""EM for mixtures of normals: the likelihood never falls, its fixed points are scikit-learn's, and
known labels give the formula.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")
from sklearn.mixture import GaussianMixture as Peer

from fledge.algorithms.latent.gaussian_em import GaussianEM
from fledge.algorithms.latent.gaussian_m_step import expected_log_joint
from fledge.errors import UserError
from fledge.models.latent.gaussian_mixture import KINDS, GaussianMixture, Kind
from fledge.rows.points import Points, from_array
from fledge.sample.points import Block, PointBlocks
from tests.models.latent.problems import draw_points

PEERS_WORD = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}


def whole(points: Points) -> Block:
    return Block(points, 0, 1)


def make(**fields: Any) -> GaussianEM:
    return GaussianEM(GaussianEM.Settings(**fields))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.data())
def test_em_never_lowers_the_likelihood(data: st.DataObject) -> None:
    check_that_em_rises(data)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_em_never_lowers_the_likelihood_of_300_problems(data: st.DataObject) -> None:
    check_that_em_rises(data)


def check_that_em_rises(data: st.DataObject) -> None:
    """Of random problems, with duplicates, constant columns, fewer different points than
    components, components that start empty, weights, and missing values.
    """
    draw = data.draw
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    N, D = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    x = random.normal(size=(N, D)) * 10.0 ** random.integers(-3, 4, D)
    if draw(st.booleans()):
        x[random.random(N) < 0.6] = x[0]
    if draw(st.booleans()):
        x[:, 0] = 3
    weight = torch.from_numpy(random.uniform(0, 3, N) + 1e-3) if draw(st.booleans()) else None
    if draw(st.integers(0, 3)) == 0 and D > 1:
        lost = random.random((N, D)) < 0.3
        lost[:, 0] = False
        lost[0] = False
        x[lost] = np.nan
    points = from_array(torch.from_numpy(x), weight=weight)
    # Where columns say the same, covariances are nearly singular, and digits are lost.
    digits = 1e-9 if np.linalg.matrix_rank(np.nan_to_num(x - x[0])) == D else 1e-7
    k, kind = draw(st.integers(1, min(N, 5))), draw(st.sampled_from(KINDS))
    em = make(k=k, covariance=kind, starts=1)
    em.begin(points)
    if draw(st.booleans()) and em.model is not None and k > 1:  # one that no point is near
        mean = em.model.mean.clone()
        mean[0] += 1e4 * (1 + mean.abs().amax())
        em.model = GaussianMixture(kind, em.model.weight, mean, em.model.covariance)
    before = -math.inf
    for _ in range(12):
        elbo = em.update(whole(points))["elbo"]
        assert math.isfinite(elbo)
        assert elbo >= before - digits * max(1, abs(before))
        before = elbo
    assert em.model is not None
    assert float(em.model.weight.sum()) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learns_answer_from_the_same_start(kind: Kind) -> None:
    """After n steps of both. Theirs reports as lower_bound_ the mean log-likelihood before the last
    M-step, as ours does: it is the score of the model one step earlier.
    """
    x = draw_points(400, 3, 1)
    points = from_array(x)
    em = make(k=3, covariance=kind, starts=1, floor=1e-9)
    em.begin(points)
    first = em.model
    assert first is not None
    precision = np.linalg.inv(first.covariance) if kind in ("full", "tied") else None
    n = 7
    for _ in range(n - 1):
        em.update(whole(points))
    earlier = em.model
    figures = em.update(whole(points))
    peer = Peer(
        3, covariance_type=PEERS_WORD[kind], max_iter=n, tol=0, reg_covar=0,
        weights_init=first.weight.numpy(), means_init=first.mean.numpy(),
        precisions_init=1 / first.covariance.numpy() if precision is None else precision,
    )  # fmt: skip
    with pytest.warns(Warning, match="did not converge"):
        peer.fit(x.numpy())
    assert em.model is not None
    fitted: Any = peer
    np.testing.assert_allclose(em.model.weight.numpy(), fitted.weights_, rtol=1e-9)
    np.testing.assert_allclose(em.model.mean.numpy(), fitted.means_, rtol=1e-8)
    np.testing.assert_allclose(em.model.covariance.numpy(), fitted.covariances_, rtol=1e-7)
    assert figures["elbo"] == pytest.approx(fitted.lower_bound_, rel=1e-10)
    assert earlier is not None
    assert figures["elbo"] == pytest.approx(float(earlier.log_prob(x).mean()), rel=1e-10)
    ours = em.model.log_prob(x).numpy()
    np.testing.assert_allclose(ours, peer.score_samples(x.numpy()), rtol=1e-9)
    assert em.model.count_parameters() == peer._n_parameters()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_repetitions(kind: Kind) -> None:
    x = draw_points(80, 2, 2)
    times = torch.from_numpy(np.random.default_rng(3).integers(1, 4, 80))
    once = from_array(x, weight=times.double())
    again = from_array(x.repeat_interleave(times, 0))
    start = make(k=2, covariance=kind)
    start.begin(again)
    results = []
    for points in (once, again):
        em = make(k=2, covariance=kind)
        em.begin(points, start.model)
        elbo = [em.update(whole(points))["elbo"] for _ in range(5)][-1]
        assert em.model is not None
        results.append((elbo, em.model.covariance.numpy()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-10)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-8)


def test_known_labels_give_the_formula_in_one_step() -> None:
    """Complete-data likelihood: shares, means and covariances of each label's own points."""
    x = draw_points(90, 2, 4)
    label = torch.arange(90) % 3
    points = Points(x, ("a", "b"), None, label, ("p", "q", "r"))
    em = make(k=3)
    first, second = (em.update(whole(points)) for _ in range(2))
    assert em.done
    assert second["elbo"] == pytest.approx(first["elbo"], rel=1e-12)
    assert em.model is not None
    for k in range(3):
        own = x[label == k].numpy()
        np.testing.assert_allclose(em.model.mean[k], own.mean(0), rtol=1e-10)
        np.testing.assert_allclose(em.model.covariance[k], np.cov(own.T, bias=True), rtol=1e-9)


def test_points_without_a_label_are_inferred_beside_those_with_one() -> None:
    """A third of the labels is known: EM still never falls, and the rest are found."""
    random = np.random.default_rng(5)
    truth = random.integers(0, 2, 300)
    x = torch.from_numpy(random.normal(size=(300, 2)) + 6 * truth[:, None])
    known = torch.from_numpy(np.where(random.random(300) < 0.3, truth, -1))
    points = Points(x, ("a", "b"), None, known, ("near", "far"))
    em, before = make(k=2), -math.inf
    for _ in range(10):
        elbo = em.update(whole(points))["elbo"]
        assert elbo >= before - 1e-10
        before = elbo
    assert em.model is not None
    assert (em.model.predict(x).numpy() == truth).mean() > 0.99


def test_incremental_em_never_lowers_its_bound_and_ends_where_em_does() -> None:
    """F = Q + H over all blocks, against the sum written out from each block's own q."""
    points = from_array(draw_points(300, 2, 6))
    batch, blocks = make(k=3, starts=1), make(k=3, starts=1, em="incremental")
    batch.begin(points)
    blocks.begin(points, batch.model)
    sampler = PointBlocks(points, 50, 0)
    before = -math.inf
    for step in range(240):
        elbo = blocks.update(next(sampler))["elbo"]
        if step >= 6:  # once every block has been seen
            assert elbo >= before - 1e-11
        before = elbo if step >= 5 else before
    last = [batch.update(whole(points))["elbo"] for _ in range(200)][-1]
    assert before == pytest.approx(last, abs=2e-3)
    assert blocks.log_likelihood(points) / 300 == pytest.approx(last, abs=2e-3)
    assert blocks.model is not None
    assert blocks.moments is not None
    assert blocks.coordinates is not None
    q = expected_log_joint(blocks.model, blocks.moments, blocks.coordinates)
    assert (q + blocks.moments.entropy) / 300 == pytest.approx(before, rel=1e-12)


def test_stepwise_em_comes_near_in_two_passes() -> None:
    points = from_array(draw_points(4000, 2, 7))
    batch, blocks = make(k=3), make(k=3, em="stepwise")
    batch.begin(points)
    blocks.begin(points, batch.model)
    wanted = [batch.update(whole(points))["elbo"] for _ in range(100)][-1]
    sampler = PointBlocks(points, 100, 0)
    for _ in range(80):
        blocks.update(next(sampler))
    assert blocks.log_likelihood(points) / 4000 == pytest.approx(wanted, abs=0.02)


def test_an_empty_component_begins_anew_where_points_are_explained_worst() -> None:
    """Three clusters, and a third component that no point is near."""
    random = np.random.default_rng(8)
    x = np.concatenate([random.normal(size=(100, 2)) * 0.3 + c for c in ((0, 0), (5, 0), (0, 5))])
    points = from_array(torch.from_numpy(x))
    em = make(k=3)
    em.begin(points)
    eye = torch.eye(2, dtype=torch.float64)
    em.model = GaussianMixture(
        "full",
        torch.tensor([0.5, 0.5, 1e-12], dtype=torch.float64),
        torch.tensor([[0, 0], [2.5, 2.5], [1e3, 1e3]], dtype=torch.float64),
        torch.stack([0.1 * eye, 9 * eye, 0.1 * eye]),
    )
    rose = [em.update(whole(points)) for _ in range(60)]
    assert rose[-1]["reseeded"] >= 1
    assert em.model is not None
    assert float(em.model.weight.min()) > 0.9 / 300
    bounds = [row["elbo"] for row in rose]
    assert all(b >= a - 1e-10 for a, b in itertools.pairwise(bounds))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_change_nothing(scale: float) -> None:
    """The floor is a share of the data's own spread."""
    x = draw_points(60, 2, 9)
    models = []
    for factor in (1.0, scale):
        em = make(k=2)
        points = from_array(x * factor)
        for _ in range(20):
            em.update(whole(points))
        assert em.model is not None
        models.append(em.model)
    np.testing.assert_allclose(models[1].mean, models[0].mean * scale, rtol=1e-6)


def test_more_components_than_points_is_a_mistake() -> None:
    with pytest.raises(UserError, match="k=4 and 3 points"):
        make(k=4).begin(from_array(torch.zeros(3, 2, dtype=torch.float64)))


def test_mixed_precision_ends_where_double_does() -> None:
    """It changes over before it is done, so what it ends with is as exact."""
    points = from_array(draw_points(2000, 3, 10))
    ends = []
    for precision in ("double", "mixed"):
        em = make(k=3, precision=precision, start="random", tolerance=1e-7)
        assert em.precise == (precision == "double")
        elbo = -math.inf
        while not em.done:
            elbo = em.update(whole(points))["elbo"]
        assert em.precise
        ends.append(elbo)
        assert em.model is not None
        assert em.log_likelihood(points) == pytest.approx(float(em.model.log_prob(points.x).sum()))
    assert ends[1] == pytest.approx(ends[0], abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_split_and_merge_leaves_a_local_optimum(kind: Kind) -> None:
    """Two components on one cluster and one on the two others: EM stays there, and a merge and a
    split find the answer, which never lowers the likelihood on its way.
    """
    random = np.random.default_rng(11)
    places = ((0, 0), (30, 0), (30, 12))
    x = torch.from_numpy(np.concatenate([random.normal(size=(80, 2)) + c for c in places]))
    points = from_array(x)
    ends = []
    for times in (0, 1):
        em = make(k=3, covariance=kind, split_merge=times)
        em.begin(points)
        assert em.model is not None
        mean = torch.tensor([[-0.5, 0], [0.5, 0], [30, 6]], dtype=torch.float64)
        em.model = GaussianMixture(kind, em.model.weight, mean, em.model.covariance)
        bounds = []
        while not em.done:
            bounds.append(em.update(whole(points))["elbo"])
        assert all(b >= a - 1e-10 for a, b in itertools.pairwise(bounds))
        ends.append(bounds[-1])
        assert em.jumps == times
    assert ends[1] > ends[0] + 0.1
    assert em.model is not None
    means = em.model.mean[em.model.mean.sum(1).argsort()].round()
    np.testing.assert_allclose(means, places, atol=1)
