"""The estimators of sequences pass scikit-learn's own checks, and answer as the formulas say."""

from __future__ import annotations

import numpy as np
import pytest

import fledge

pytest.importorskip("sklearn")
from sklearn.utils.estimator_checks import parametrize_with_checks

from fledge.errors import UserError
from fledge.front.sequence_estimators import HiddenMarkovModel, KalmanFilter

# Without an order a sequence is another: scikit-learn's checks that shuffle rows, or that ask for a
# value of each row alone, hold of points and not of steps.
OF_AN_ORDER = {
    "check_methods_sample_order_invariance": "the order of steps is what is learned of",
    "check_methods_subset_invariance": "a step's answer depends on the others of its sequence",
}


@parametrize_with_checks(
    [HiddenMarkovModel(), KalmanFilter()], expected_failed_checks=lambda _: OF_AN_ORDER
)
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


def walk(steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two states far apart, each kept nine times out of ten."""
    random = np.random.default_rng(seed)
    state = (random.random(steps) < 0.1).cumsum() % 2
    return 6 * state[:, None] + random.normal(size=(steps, 2)), state


def test_states_of_sequences_of_several_lengths() -> None:
    lengths = [120, 1, 60, 19]
    x, state = walk(200, 0)
    chain = fledge.HiddenMarkovModel(2, covariance_type="diag", random_state=0)
    chain.fit(x, lengths=lengths)
    states = chain.predict(x, lengths)
    assert max((states == state).mean(), (states != state).mean()) > 0.99
    share = chain.predict_proba(x, lengths)
    np.testing.assert_allclose(share.sum(1), 1)
    assert (share.argmax(1) == states).mean() > 0.99
    each = chain.score_samples(x, lengths)
    assert each.shape == (4,)
    assert chain.score(x, lengths=lengths) == pytest.approx(each.sum() / 200)
    # 1 + 2 of the chain, 2 · (2 + 2) of the states
    assert chain.bic(x, lengths) == pytest.approx(-2 * each.sum() + 11 * np.log(200))
    assert np.all(np.diff(chain.lower_bounds_) >= -1e-10)
    paths = chain.sample_paths(x[:120], 50)
    assert (paths == states[:120]).mean() > 0.98
    drawn, hidden = chain.sample(5_000)
    assert drawn.shape == (5_000, 2)
    assert abs((hidden[1:] == hidden[:-1]).mean() - np.diag(chain.transmat_).mean()) < 0.03


def test_symbols_are_whole_numbers() -> None:
    _, state = walk(400, 1)
    random = np.random.default_rng(2)
    x = np.where(random.random(400) < 0.9, state, 2 + state)
    chain = fledge.HiddenMarkovModel(2, emission="symbols", n_symbols=5, n_init=5, random_state=1)
    states = chain.fit(x).predict(x[:, None])
    assert max((states == state).mean(), (states != state).mean()) > 0.95
    assert chain.emissionprob_.shape == (2, 5)
    assert np.isfinite(chain.score(np.array([0, 4, 1])))  # 4 was never met
    with pytest.raises(UserError, match="symbol 7 was given, and the model knows 5"):
        chain.score(np.array([0, 7]))
    with pytest.raises(UserError, match="transmat is no distribution"):
        chain.set_parameters([0.5, 0.5], [[0.5, 0.6], [0.1, 0.9]])
    with pytest.raises(ValueError, match="is not of whole numbers"):
        chain.fit(np.array([0.5, 1]))
    with pytest.raises(UserError, match="lengths that sum to 3"):
        chain.fit(x, lengths=[1, 2])


def test_a_state_that_moves_is_followed() -> None:
    random = np.random.default_rng(0)
    state = random.normal(size=300).cumsum()
    x = state[:, None] * [1.0, -2.0] + random.normal(size=(300, 2))
    kalman = fledge.KalmanFilter(1).fit(x, lengths=[200, 100])
    mean, covariance = kalman.smooth(x, [200, 100])
    assert covariance.shape == (300, 1, 1)
    assert abs(np.corrcoef(mean[:, 0], state)[0, 1]) > 0.99
    filtered = kalman.filter(x, [200, 100])[:, 0]
    fits = [np.polyfit(each, state, 1, full=True)[1][0] for each in (mean[:, 0], filtered)]
    assert fits[0] < fits[1]  # who knows the future knows more
    assert kalman.transform(x, [200, 100]).tolist() == mean.tolist()
