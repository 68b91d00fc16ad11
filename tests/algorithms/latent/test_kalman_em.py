"""EM for a state space: never lowers the likelihood, finds a motion, and meets its M-step's
equations.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.algorithms.latent.kalman_em import KalmanEM
from fledge.errors import UserError
from fledge.models.latent.state_space import StateSpace
from fledge.rows.sequences import Sequences
from fledge.sample.points import Block
from tests.models.latent.chains import as_one_normal, draw_space


def as_sequences(x: np.ndarray, lengths: list[int]) -> Sequences:
    columns = tuple(f"x{d}" for d in range(x.shape[1]))
    return Sequences(torch.from_numpy(np.ascontiguousarray(x)), tuple(lengths), columns)


def climb(algorithm: KalmanEM, sequences: Sequences, steps: int) -> list[float]:
    rose = []
    for _ in range(steps):
        rose.append(algorithm.update(Block(sequences, 0, 1))["elbo"])  # pyright: ignore[reportArgumentType]
    return [*rose, algorithm.log_likelihood(sequences) / sequences.total]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 3),
    D=st.integers(1, 3),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    noise=st.sampled_from(["diagonal", "full"]),
)
def test_it_never_lowers_the_likelihood(
    seed: int, n: int, D: int, lengths: list[int], noise: str
) -> None:
    lengths = [*lengths, n + 2]
    x = np.random.default_rng(seed).normal(size=(sum(lengths), D)).cumsum(0)
    s = KalmanEM.Settings(state_size=n, noise=noise, tolerance=0)  # pyright: ignore[reportArgumentType]
    rose = np.array(climb(KalmanEM(s), as_sequences(x, lengths), 15))
    assert np.isfinite(rose).all()
    assert np.diff(rose).min() >= -1e-7 * max(1, np.abs(rose).max())


def test_a_rotation_is_found_of_one_number_a_step() -> None:
    """Its angle and its decay are the transition's eigenvalues, whatever the coordinates."""
    random, angle, lengths = np.random.default_rng(0), 0.4, [400, 250, 90]
    F = 0.98 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x = []
    for length in lengths:
        z = random.normal(size=2)
        for _ in range(length):
            z = F @ z + 0.3 * random.normal(size=2)
            x.append([5 + z[0] + 0.3 * random.normal()])
    algorithm = KalmanEM(KalmanEM.Settings(state_size=2))
    climb(algorithm, as_sequences(np.array(x), lengths), 60)
    assert algorithm.model is not None
    value = torch.linalg.eigvals(algorithm.model.transition)
    assert value.angle().abs().tolist() == pytest.approx([angle, angle], abs=0.03)
    assert value.abs().tolist() == pytest.approx([0.98, 0.98], abs=0.02)


def test_the_bound_is_the_likelihood_less_a_divergence() -> None:
    """ℓ = E_q[log p(x, z)] + H(q) + KL(q ‖ p(z | x)), q another space's posterior, all in closed
    form of normals; and the M-step's parameters are where E_q[log p] is highest.
    """
    T = 5
    own, other = draw_space(2, 2, 1), draw_space(2, 2, 2)
    x = np.random.default_rng(0).normal(size=(T, 2))
    mean, V = posterior(other, x, T)
    right, W = posterior(own, x, T)
    divergence = 0.5 * (
        np.trace(np.linalg.solve(W, V)) - len(V) + log_det(W) - log_det(V)
        + (right - mean) @ np.linalg.solve(W, right - mean)
    )  # fmt: skip
    entropy = 0.5 * (log_det(V) + len(V) * (1 + np.log(2 * np.pi)))
    bound = expected_log_joint(own, x, mean, V, T) + entropy
    model = StateSpace(**{name: torch.from_numpy(each) for name, each in own.items()})
    assert float(model.log_prob(torch.from_numpy(x))) == pytest.approx(bound + divergence, abs=1e-9)


def posterior(space: dict, x: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
    m, C, H, d, R = as_one_normal(space, T)
    gain = C @ H.T @ np.linalg.inv(H @ C @ H.T + R)
    return m + gain @ (x.ravel() - H @ m - d), C - gain @ H @ C


def log_det(matrix: np.ndarray) -> float:
    return float(np.linalg.slogdet(matrix)[1])


def expected_log_joint(space: dict, x: np.ndarray, mean: np.ndarray, V: np.ndarray, T: int):
    """E_q[log p(z) + log p(x | z)] of q = N(mean, V)."""
    m, C, H, d, R = as_one_normal(space, T)
    total = 0.0
    for apart, spread, own in (
        (mean - m, V, C),
        (x.ravel() - H @ mean - d, H @ V @ H.T, R),
    ):
        total -= 0.5 * (len(own) * np.log(2 * np.pi) + log_det(own))
        total -= 0.5 * (
            apart @ np.linalg.solve(own, apart) + np.trace(np.linalg.solve(own, spread))
        )
    return total


def test_a_step_maximises_the_expected_joint() -> None:
    """Moving any parameter of the M-step's answer lowers E_q[log p(x, z)]."""
    T, names = 7, ("start", "spread", "transition", "drift", "loading", "offset", "noise")
    x = np.random.default_rng(3).normal(size=(T, 2))
    space = draw_space(2, 2, 4)
    begun = StateSpace(**{name: torch.from_numpy(space[name]) for name in names})
    algorithm = KalmanEM(KalmanEM.Settings(state_size=2, noise="full"))
    sequences = as_sequences(x, [T])
    algorithm.begin(sequences, begun)
    climb(algorithm, sequences, 1)
    mean, V = posterior(space, x, T)
    best = {name: getattr(algorithm.model, name).numpy() for name in names}
    highest = expected_log_joint(best, x, mean, V, T)
    random = np.random.default_rng(5)
    for name in names:
        for _ in range(4):
            change = 1e-3 * random.normal(size=best[name].shape)
            if name in ("spread", "drift", "noise"):
                change = (change + change.T) / 2 * np.abs(best[name]).min()
            moved = {**best, name: best[name] + change}
            assert expected_log_joint(moved, x, mean, V, T) < highest


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(UserError, match="x1 is the same at every step"):
        climb(KalmanEM(), as_sequences(np.array([[0.0, 1], [1, 1], [3, 1], [2, 1]]), [4]), 1)
    with pytest.raises(UserError, match="state_size=2 and 2 steps to learn from"):
        climb(KalmanEM(), as_sequences(np.array([[0.0], [1]]), [2]), 1)
    of_symbols = Sequences(torch.tensor([0, 1, 0, 1]), (4,), ("s",), ("a", "b"))
    with pytest.raises(UserError, match="a Kalman filter is of numbers"):
        climb(KalmanEM(), of_symbols, 1)


def test_a_slow_motion_is_not_taken_for_noise() -> None:
    """A velocity that lasts, seen through much noise: at least as likely as what made the data, and
    nearer to it than the observations are.
    """
    random, T = np.random.default_rng(3), 120
    position, velocity = np.zeros(T), 0.0
    for t in range(1, T):
        velocity = 0.97 * velocity + 0.25 * random.normal()
        position[t] = position[t - 1] + velocity
    x = (position + 1.5 * random.normal(size=T))[:, None]
    algorithm, sequences = KalmanEM(KalmanEM.Settings(state_size=2)), as_sequences(x, [T])
    climb(algorithm, sequences, 60)
    model, given = algorithm.model, torch.from_numpy(x)
    assert model is not None
    start, spread = torch.zeros(2), torch.tensor([[0.01, 0], [0, 0.07]])
    transition = torch.tensor([[1, 0.97], [0, 0.97]])
    drift = torch.tensor([[0.0626, 0.0625], [0.0625, 0.0626]])
    loading, offset, noise = torch.tensor([[1.0, 0]]), torch.zeros(1), torch.tensor([[2.25]])
    truth = StateSpace(
        start.double(), spread.double(), transition.double(), drift.double(), loading.double(),
        offset.double(), noise.double(),
    )  # fmt: skip
    assert float(model.log_prob(given)) > float(truth.log_prob(given))
    smoothed = (model.infer(given)[0] @ model.loading.T + model.offset)[:, 0].numpy()
    assert np.std(smoothed - position) < 0.5 * np.std(x[:, 0] - position)
