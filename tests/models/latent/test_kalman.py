"""The Kalman filter and smoother: equal to one large normal, conditioned by linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from fledge.errors import UserError
from fledge.models.latent.kalman import Dynamics, smooth_points
from fledge.models.latent.state_space import StateSpace
from fledge.models.latent.step_order import order_steps
from tests.models.latent.chains import as_one_normal, draw_space


@pytest.mark.parametrize(
    ("n", "D", "lengths"), [(2, 3, [6, 6, 3, 1, 4]), (3, 1, [5, 2]), (1, 2, [4])]
)
def test_they_are_the_joint_normal_conditioned(n: int, D: int, lengths: list[int]) -> None:
    space = draw_space(n, D, 10 * n + D)
    x = 2 * np.random.default_rng(0).normal(size=(sum(lengths), D))
    steps = order_steps(lengths)
    smoothed = smooth_points(Dynamics(**space), x[steps.order], steps)
    model = StateSpace(**{name: torch.from_numpy(each) for name, each in space.items()})
    means, covariances = model.infer(torch.from_numpy(x), lengths)
    filtered = model.filter(torch.from_numpy(x), lengths)
    place, every, across = 0, np.zeros((n, n)), np.zeros((n, n))
    ends = np.zeros((2, n, n))
    for number, T in enumerate(lengths):
        own = slice(place, place + T)
        mean, V = condition(space, x[own], T)
        density = observed_density(space, x[own], T)
        assert smoothed.log_p[number] == pytest.approx(density, rel=1e-10)
        np.testing.assert_allclose(means[own], mean, atol=1e-10)
        blocks = [V[n * t : n * t + n, n * t : n * t + n] for t in range(T)]
        np.testing.assert_allclose(covariances[own], blocks, atol=1e-10)
        for t in range(T):  # the filter knows the past alone
            past, _ = condition(space, x[own][: t + 1], t + 1)
            np.testing.assert_allclose(filtered[place + t], past[-1], atol=1e-10)
            if t:
                across += V[n * t : n * t + n, n * t - n : n * t]
        every += np.sum(blocks, 0)
        ends += np.stack([blocks[0], blocks[-1]])
        place += T
    np.testing.assert_allclose(smoothed.every, every, atol=1e-10)
    np.testing.assert_allclose([smoothed.first, smoothed.last], ends, atol=1e-10)
    np.testing.assert_allclose(smoothed.across, across, atol=1e-10)


def condition(space: dict, x: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
    """E[z | x] [T, n] and Cov[z | x] [nT, nT]."""
    mean, C, H, d, R = as_one_normal(space, T)
    gain = C @ H.T @ np.linalg.inv(H @ C @ H.T + R)
    after = mean + gain @ (x.ravel() - H @ mean - d)
    return after.reshape(T, -1), C - gain @ H @ C


def observed_density(space: dict, x: np.ndarray, T: int) -> float:
    mean, C, H, d, R = as_one_normal(space, T)
    covariance: Any = H @ C @ H.T + R
    return multivariate_normal(H @ mean + d, covariance).logpdf(x.ravel())


def test_covariances_that_stand_are_not_computed_again() -> None:
    """A long sequence has the likelihood of its steps told one by one, without the shortcut."""
    space = draw_space(2, 2, 3)
    model = StateSpace(**{name: torch.from_numpy(each) for name, each in space.items()})
    x, _ = model.sample(400, torch.Generator().manual_seed(0))
    m, P, density = space["start"], space["spread"], 0.0
    F, H, R = space["transition"], space["loading"], space["noise"]
    for point in x.numpy():
        S = H @ P @ H.T + R
        mean = H @ m + space["offset"]
        density += float(multivariate_normal(mean, S).logpdf(point))  # pyright: ignore[reportArgumentType]
        K = P @ H.T @ np.linalg.inv(S)
        m, P = m + K @ (point - mean), P - K @ H @ P
        m, P = F @ m, F @ P @ F.T + space["drift"]
    assert float(model.log_prob(x)) == pytest.approx(density, rel=1e-10)


def test_observations_that_are_none() -> None:
    space = draw_space(2, 2, 3)
    model = StateSpace(**{name: torch.from_numpy(each) for name, each in space.items()})
    with pytest.raises(UserError, match="the model is of 2 columns"):
        model.log_prob(torch.zeros(4, 3).double())
    with pytest.raises(UserError, match="or one is infinite"):
        model.log_prob(torch.full((4, 2), torch.inf).double())
