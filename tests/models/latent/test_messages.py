"""Messages along a chain: equal to the sum over every path, for any lengths, cut or whole, and
whatever the densities are.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.models.latent.emissions import NormalEmission, SymbolEmission
from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.models.latent.hidden_markov import HiddenMarkov, check_distribution
from fledge.models.latent.messages import Messages, Observed
from fledge.models.latent.step_order import StepOrder, choose_order, order_steps
from tests.models.latent.chains import draw_chain, list_paths, sum_paths

LENGTHS = [5, 1, 7, 3, 7, 2]


def infer(start: np.ndarray, transition: np.ndarray, logs: np.ndarray, steps: StepOrder):
    logs = logs[steps.order]
    top = logs.max(1)
    observed = Observed(np.exp(logs - top[:, None]), top, lambda rows: logs[rows])
    posterior = Messages(steps, len(start)).infer(start, transition, observed)
    return steps.restore(posterior.state), posterior.pairs, posterior.log_p


def check(start: np.ndarray, transition: np.ndarray, logs: np.ndarray, steps: StepOrder) -> None:
    state, pairs, log_p = infer(start, transition, logs, steps)
    place, expected = 0, np.zeros_like(pairs)
    for number, length in enumerate(LENGTHS):
        own = slice(place, place + length)
        each, more, whole = sum_paths(start, transition, logs[own])
        np.testing.assert_allclose(state[own], each, atol=1e-12)
        assert log_p[number] == pytest.approx(whole, rel=1e-12)
        expected, place = expected + more, place + length
    np.testing.assert_allclose(pairs, expected, atol=1e-11)


@pytest.mark.parametrize("longest", [None, 1, 2, 3], ids=["whole", "ones", "twos", "threes"])
@pytest.mark.parametrize("K", [1, 2, 3])
def test_messages_are_the_sum_over_every_path(K: int, longest: int | None) -> None:
    start, transition = draw_chain(K, K)
    logs = 3 * np.random.default_rng(K).normal(size=(sum(LENGTHS), K)) - 40
    check(start, transition, logs, order_steps(LENGTHS, longest))


@pytest.mark.parametrize("longest", [None, 2])
def test_states_that_are_never_left_or_entered(longest: int | None) -> None:
    """From left to right: what has come to 0 is missed for ever."""
    start = np.array([1.0, 0.0, 0.0])
    transition = np.array([[0.5, 0.3, 0.2], [0.0, 0.7, 0.3], [0.0, 0.0, 1.0]])
    logs = np.random.default_rng(0).normal(size=(sum(LENGTHS), 3))
    logs[6:9, 0] -= 900  # below the least number there is, and made good afterwards
    logs[9:13, 1:] -= 2000
    check(start, transition, logs, order_steps(LENGTHS, longest))


@pytest.mark.parametrize("longest", [None, 2])
@pytest.mark.parametrize("worse", [30, 200, 700, 5000])
def test_densities_that_leave_the_range_of_numbers(worse: float, longest: int | None) -> None:
    """Two states that can hardly change, and observations that speak first for one, then for the
    other: scaled messages alone would lose the second.
    """
    transition = np.array([[1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12]])
    logs = np.zeros((sum(LENGTHS), 2))
    logs[6:9, 1] -= worse
    logs[9:13, 0] -= 1.5 * worse
    check(np.array([0.5, 0.5]), transition, logs, order_steps(LENGTHS, longest))


def test_one_long_sequence_is_cut_and_says_the_same() -> None:
    start, transition = draw_chain(3, 5)
    logs = 2 * np.random.default_rng(1).normal(size=(5_000, 3))
    steps = choose_order([5_000], 3)
    assert steps.cut
    for ours, whole in zip(
        infer(start, transition, logs, steps),
        infer(start, transition, logs, order_steps([5_000])),
        strict=True,
    ):
        np.testing.assert_allclose(ours, whole, rtol=1e-9, atol=1e-12)
    assert not choose_order([1_000] * 100, 16).cut


def test_the_likeliest_path_is_that_of_all_paths() -> None:
    model, x = a_model(), torch.tensor([0, 2, 1, 1, 3, 0, 2])
    logs = model.emission.log_prob(x).numpy()
    paths, joint = list_paths(model.start.numpy(), model.transition.numpy(), logs)
    path, value = model.decode(x)[0]
    assert path.tolist() == paths[joint.argmax()].tolist()
    assert value == pytest.approx(joint.max())
    assert model.predict(x, [4, 3]).tolist() == [
        *model.predict(x[:4]).tolist(),
        *model.predict(x[4:]).tolist(),
    ]


def test_drawn_paths_are_as_frequent_as_they_are_likely() -> None:
    model, x = a_model(), torch.tensor([0, 3, 1, 2])
    logs = model.emission.log_prob(x).numpy()
    paths, joint = list_paths(model.start.numpy(), model.transition.numpy(), logs)
    share = np.exp(joint - joint.max())
    share /= share.sum()
    draws = 40_000
    drawn = model.draw_paths(x, draws, torch.Generator().manual_seed(0)).numpy()
    number = drawn @ (2 ** np.arange(3, -1, -1))
    often = np.bincount(number, minlength=16) / draws
    assert paths @ (2 ** np.arange(3, -1, -1)) == pytest.approx(np.arange(16))
    error = np.sqrt(share * (1 - share) / draws)
    assert (np.abs(often - share) < 5 * error).all()


def test_samples_are_as_the_chain_says() -> None:
    model = a_model()
    x, path = model.sample(60_000, torch.Generator().manual_seed(1))
    A = model.transition.numpy()
    value, vector = np.linalg.eig(A.T)
    often = np.real(vector[:, np.argmax(np.real(value))])
    often /= often.sum()
    np.testing.assert_allclose(np.bincount(path) / len(path), often, atol=0.02)
    expected = often @ model.emission.probability.numpy()  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(np.bincount(x) / len(x), expected, atol=0.02)


def a_model() -> HiddenMarkov:
    start, transition = draw_chain(2, 3)
    symbols = np.random.default_rng(4).dirichlet(np.ones(4), 2)
    return HiddenMarkov(
        torch.from_numpy(start), torch.from_numpy(transition),
        SymbolEmission(torch.from_numpy(symbols), tuple("abcd")),
    )  # fmt: skip


def test_what_cannot_be_is_said() -> None:
    model = a_model()
    with pytest.raises(UserError, match="symbol 4 was given, and the model knows 4"):
        model.log_prob(torch.tensor([0, 4]))
    with pytest.raises(UserError, match="the model is of symbols"):
        model.log_prob(torch.zeros(3, 1, dtype=torch.float64))
    with pytest.raises(UserError, match="3 steps were given and lengths that sum to 4"):
        model.predict(torch.tensor([0, 1, 1]), [2, 2])
    with pytest.raises(UserError, match="is no distribution: it sums to"):
        check_distribution(torch.tensor([0.5, 0.6]), "start")
    mixture = GaussianMixture(
        "spherical", torch.ones(2).double(), torch.zeros(2, 3).double(), torch.ones(2).double()
    )
    normal = HiddenMarkov(model.start, model.transition, NormalEmission(mixture, 2))
    with pytest.raises(UserError, match="the model is of 3 columns"):
        normal.predict(torch.zeros(4, 2).double())
