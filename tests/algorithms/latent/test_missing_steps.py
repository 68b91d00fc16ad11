"""Sequences that lack values: the likelihood is that of the marginals, path by path, and EM never
lowers it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fledge
from fledge.algorithms.latent.baum_welch import BaumWelch
from fledge.algorithms.latent.kalman_em import KalmanEM
from fledge.models.latent.emissions import NormalEmission
from fledge.models.latent.gaussian_mixture import KINDS, Kind
from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.models.latent.kalman_missing import smooth_missing
from fledge.models.latent.state_space import StateSpace
from fledge.models.latent.step_order import order_steps
from fledge.rows.sequences import Sequences
from fledge.sample.points import Block
from tests.models.latent.chains import as_one_normal, draw_chain, draw_space, sum_paths
from tests.models.latent.problems import draw_mixture, joint_by_scipy


def lose(x: np.ndarray, seed: int) -> np.ndarray:
    """A third of the values, one whole step among them; no column of all."""
    lost = np.random.default_rng(seed).random(x.shape) < 0.3
    lost[0], lost[len(x) // 2] = False, True
    return np.where(lost, np.nan, x)


def as_sequences(x: np.ndarray, lengths: list[int]) -> Sequences:
    return Sequences(torch.from_numpy(x), tuple(lengths), ("a", "b"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_as_likely_as_what_is_seen_of_it(kind: Kind) -> None:
    """With every path listed, and the densities of what is seen by scipy."""
    start, transition = draw_chain(3, 1)
    mixture = draw_mixture(kind, 3, 2, 2)
    mixture = type(mixture)(kind, torch.ones(3).double(), mixture.mean, mixture.covariance)
    x = lose(3 * np.random.default_rng(3).normal(size=(7, 2)), 4)
    seen = ~np.isnan(x).all(1)
    logs = np.zeros((7, 3))  # a step without a value says nothing
    logs[seen] = joint_by_scipy(mixture, torch.from_numpy(x[seen]))
    state, pairs, log_p = sum_paths(start, transition, logs)
    model = HiddenMarkov(
        torch.from_numpy(start), torch.from_numpy(transition), NormalEmission(mixture, 3)
    )
    algorithm = BaumWelch(BaumWelch.Settings(k="3", covariance=kind, starts=1))
    sequences = as_sequences(x, [7])
    algorithm.begin(sequences, model)
    posterior = algorithm.infer(model)
    assert float(posterior.log_p.sum()) == pytest.approx(log_p, rel=1e-10)
    np.testing.assert_allclose(posterior.pairs, pairs, atol=1e-10)
    np.testing.assert_allclose(model.responsibility(sequences.x), state, atol=1e-10)
    assert float(model.log_prob(sequences.x)) == pytest.approx(log_p, rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS), K=st.integers(1, 3),
    parts=st.integers(1, 2), lengths=st.lists(st.integers(1, 10), min_size=1, max_size=4),
)  # fmt: skip
def test_it_never_lowers_the_likelihood(
    seed: int, kind: Kind, K: int, parts: int, lengths: list[int]
) -> None:
    lengths = [*lengths, K * parts + 2]
    x = lose(3 * np.random.default_rng(seed).normal(size=(sum(lengths), 2)), seed)
    sequences = as_sequences(x, lengths)
    s = BaumWelch.Settings(k=str(K), covariance=kind, parts=parts, starts=1, tolerance=0)
    algorithm = BaumWelch(s, seed=seed)
    rose = [algorithm.update(Block(sequences, 0, 1))["elbo"] for _ in range(8)]  # pyright: ignore[reportArgumentType]
    rose.append(algorithm.log_likelihood(sequences) / sequences.total)
    assert np.isfinite(rose).all()
    assert np.diff(rose).min() >= -3e-7 * max(1, np.abs(rose).max())


def test_what_is_lost_is_hardly_missed() -> None:
    """States that last, three values in ten lost: the states are those that made the data."""
    random = np.random.default_rng(0)
    state = (random.random(600) < 0.05).cumsum() % 2
    x = 4 * state[:, None] + random.normal(size=(600, 2))
    algorithm = BaumWelch(BaumWelch.Settings(k="2"))
    sequences = as_sequences(lose(x, 1), [600])
    for _ in range(20):
        algorithm.update(Block(sequences, 0, 1))  # pyright: ignore[reportArgumentType]
    model = algorithm.model
    assert model is not None
    path = model.predict(sequences.x).numpy()
    assert max((path == state).mean(), (path != state).mean()) > 0.98


@pytest.mark.parametrize(("n", "lengths"), [(2, [6, 3, 1]), (1, [5, 4])])
def test_a_filter_that_lacks_values_is_the_joint_normal_of_what_is_seen(
    n: int, lengths: list[int]
) -> None:
    D, place = 2, 0
    space = draw_space(n, D, 7)
    x = lose(np.random.default_rng(8).normal(size=(sum(lengths), D)), 9)
    model = StateSpace(**{name: torch.from_numpy(each) for name, each in space.items()})
    given = torch.from_numpy(x)
    log_p, (means, covariances) = model.log_prob(given, lengths), model.infer(given, lengths)
    filtered = model.filter(given, lengths)
    steps = order_steps(lengths)
    smoothed, _ = smooth_missing(model.dynamics, x[steps.order], steps)
    across = np.zeros((n, n))
    for number, T in enumerate(lengths):
        own = slice(place, place + T)
        mean, V, density = condition_on_seen(space, x[own])
        assert float(log_p[number]) == pytest.approx(density, rel=1e-10)
        np.testing.assert_allclose(means[own], mean, atol=1e-10)
        for t in range(T):
            at = slice(n * t, n * t + n)
            np.testing.assert_allclose(covariances[place + t], V[at, at], atol=1e-10)
            past, *_ = condition_on_seen(space, x[own][: t + 1])
            np.testing.assert_allclose(filtered[place + t], past[-1], atol=1e-10)
            if t:
                across += V[at, n * t - n : n * t]
        place += T
    np.testing.assert_allclose(smoothed.across, across, atol=1e-10)


def condition_on_seen(space: dict, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """E[z | what is seen] [T, n], its covariance [nT, nT], and log p of what is seen."""
    T = len(x)
    mean, C, H, d, R = as_one_normal(space, T)
    seen = ~np.isnan(x.ravel())
    H, d, R = H[seen], d[seen], R[np.ix_(seen, seen)]
    S, rest = H @ C @ H.T + R, x.ravel()[seen] - H @ mean - d
    gain = C @ H.T @ np.linalg.inv(S)
    log_det = np.linalg.slogdet(2 * np.pi * S)[1]
    density = -0.5 * (rest @ np.linalg.solve(S, rest) + log_det)
    return (mean + gain @ rest).reshape(T, -1), C - gain @ H @ C, float(density)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000), n=st.integers(1, 2), noise=st.sampled_from(["diagonal", "full"]),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
)  # fmt: skip
def test_em_of_a_filter_never_lowers_the_likelihood(
    seed: int, n: int, noise: Literal["diagonal", "full"], lengths: list[int]
) -> None:
    lengths = [*lengths, 12]
    x = lose(np.random.default_rng(seed).normal(size=(sum(lengths), 2)).cumsum(0), seed)
    sequences = as_sequences(x, lengths)
    algorithm = KalmanEM(KalmanEM.Settings(state_size=n, noise=noise, tolerance=0), seed=seed)
    rose = [algorithm.update(Block(sequences, 0, 1))["elbo"] for _ in range(5)]  # pyright: ignore[reportArgumentType]
    rose.append(algorithm.log_likelihood(sequences) / sequences.total)
    assert np.isfinite(rose).all()
    assert np.diff(rose).min() >= -1e-7 * max(1, np.abs(rose).max())


def test_a_motion_is_learned_from_what_is_left_of_it() -> None:
    """A third of a slow wave is lost: the smoother is near it there too."""
    t = np.arange(150)
    wave = np.stack([np.sin(t / 12), np.cos(t / 12)], 1)
    x = lose(wave + 0.2 * np.random.default_rng(0).normal(size=wave.shape), 2)
    kalman = fledge.KalmanFilter(2, tol=3e-3).fit(x)
    mean, _ = kalman.smooth(x)
    seen_of = mean @ kalman.loading_.T + kalman.offset_
    error = np.sqrt(np.mean((seen_of - wave)[np.isnan(x)] ** 2))
    assert error < 0.15
