"""Baum–Welch: never lowers the likelihood, its bound is the likelihood less a divergence, and its
steps are those of another library from the same start.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.algorithms.latent.baum_welch import BaumWelch, list_classes
from fledge.algorithms.latent.probabilities import LEAST, share_out
from fledge.errors import UserError
from fledge.models.latent.emissions import NormalEmission, SymbolEmission
from fledge.models.latent.gaussian_mixture import KINDS, GaussianMixture, Kind
from fledge.models.latent.hidden_markov import HiddenMarkov
from fledge.rows.sequences import Sequences
from fledge.sample.points import Block
from tests.models.latent.chains import draw_chain, list_paths


def numbers(x: np.ndarray, lengths: list[int]) -> Sequences:
    columns = tuple(f"x{d}" for d in range(x.shape[1]))
    return Sequences(torch.from_numpy(x), tuple(lengths), columns)


def symbols(x: np.ndarray, lengths: list[int], V: int) -> Sequences:
    return Sequences(torch.from_numpy(x), tuple(lengths), ("s",), tuple("abcdefgh"[:V]))


def climb(algorithm: BaumWelch, sequences: Sequences, steps: int) -> list[float]:
    rose = []
    for _ in range(steps):
        rose.append(algorithm.update(Block(sequences, 0, 1))["elbo"])  # pyright: ignore[reportArgumentType]
    return [*rose, algorithm.log_likelihood(sequences) / sequences.total]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(KINDS),
    K=st.integers(1, 4),
    parts=st.integers(1, 2),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    copies=st.booleans(),
)
def test_it_never_lowers_the_likelihood(
    seed: int, kind: Kind, K: int, parts: int, lengths: list[int], copies: bool
) -> None:
    """With empty states, equal observations and hardly more of these than states."""
    random = np.random.default_rng(seed)
    N = sum(lengths) + K * parts
    lengths = [*lengths, K * parts]
    x = random.normal(size=(N, 2)) * 3
    if copies:
        x = x[random.integers(0, max(1, N // 3), N)]
        x[0] += 1  # columns that do not vary are no data
    s = BaumWelch.Settings(k=str(K), covariance=kind, parts=parts, starts=1, tolerance=0)
    rose = np.array(climb(BaumWelch(s, seed=seed), numbers(x, lengths), 12))
    assert np.isfinite(rose).all()
    # two points in a plane are as narrow as the floor lets them be: half of the digits are lost
    assert np.diff(rose).min() >= -3e-7 * max(1, np.abs(rose).max())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    K=st.integers(1, 4),
    V=st.integers(1, 6),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
)
def test_it_never_lowers_the_likelihood_of_symbols(
    seed: int, K: int, V: int, lengths: list[int]
) -> None:
    lengths = [*lengths, K]
    x = np.random.default_rng(seed).integers(0, V, sum(lengths))
    s = BaumWelch.Settings(k=str(K), starts=1, tolerance=0)
    rose = np.array(climb(BaumWelch(s, seed=seed), symbols(x, lengths, V), 30))
    assert np.diff(rose).min() >= -1e-10


def test_the_bound_is_the_likelihood_less_a_divergence() -> None:
    """ℓ = E_q[log p(x, z) − log q(z)] + KL(q ‖ p(z | x)), with every path listed; q is the exact
    posterior of other parameters.
    """
    x = np.random.default_rng(0).integers(0, 3, 6)
    own, other = (
        (draw_chain(2, s), np.random.default_rng(s).dirichlet([1, 1, 1], 2)) for s in (1, 2)
    )

    def joint(model) -> np.ndarray:
        (start, transition), emission = model
        return list_paths(start, transition, np.log(emission.T[x]))[1]

    def as_model(model) -> HiddenMarkov:
        (start, transition), emission = (
            tuple(map(torch.from_numpy, model[0])),
            torch.from_numpy(model[1]),
        )
        return HiddenMarkov(start, transition, SymbolEmission(emission, tuple("abc")))

    log_q = joint(other) - np.logaddexp.reduce(joint(other))
    q = np.exp(log_q)
    log_p = float(as_model(own).log_prob(torch.from_numpy(x)))
    elbo = float(q @ (joint(own) - log_q))
    divergence = float(q @ (log_q - (joint(own) - log_p)))
    assert log_p == pytest.approx(elbo + divergence, abs=1e-9)
    # the messages give the expected statistics that this q has
    posterior, state = as_model(other).infer(torch.from_numpy(x))
    expected = float(posterior.state[0] @ np.log(own[0][0]))
    expected += float((posterior.pairs * np.log(own[0][1])).sum())
    expected += float((state.numpy() * np.log(own[1].T[x])).sum())
    entropy = -float(q @ log_q)
    assert expected + entropy == pytest.approx(elbo, abs=1e-9)


def draw_normal_chain(lengths: list[int], seed: int) -> tuple[np.ndarray, HiddenMarkov]:
    random = np.random.default_rng(seed)
    start, transition = draw_chain(3, seed)
    mean = torch.from_numpy(4 * random.normal(size=(3, 2)))
    mixture = GaussianMixture(
        "full", torch.ones(3).double(), mean, torch.eye(2).double().expand(3, 2, 2).clone()
    )
    model = HiddenMarkov(
        torch.from_numpy(start), torch.from_numpy(transition), NormalEmission(mixture, 3)
    )
    generator = torch.Generator().manual_seed(seed)
    x = np.concatenate([model.sample(length, generator)[0].numpy() for length in lengths])
    return x, model


def test_what_made_the_data_is_learned() -> None:
    lengths = [300, 40, 500, 1, 200]
    x, truth = draw_normal_chain(lengths, 7)
    algorithm = BaumWelch(BaumWelch.Settings(k="3"))
    climb(algorithm, numbers(x, lengths), 40)
    model = algorithm.model
    assert model is not None
    own, true = model.emission.mixture.mean, truth.emission.mixture.mean  # pyright: ignore[reportAttributeAccessIssue]
    order = torch.cdist(true, own).argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(own[order], true, atol=0.3, rtol=0)
    torch.testing.assert_close(
        model.transition[order][:, order], truth.transition, atol=0.12, rtol=0
    )


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_its_steps_are_hmmlearns(kind: Kind) -> None:
    """Each likelihood before its M-step, from the same start, without its priors."""
    peer = pytest.importorskip("hmmlearn.hmm")
    lengths = [60, 20, 33, 1]
    x, _ = draw_normal_chain(lengths, 5)
    sequences = numbers(x, lengths)
    ours = BaumWelch(BaumWelch.Settings(k="3", covariance=kind, starts=1, floor=1e-9))
    ours.begin(sequences)
    begun = ours.model
    assert begun is not None
    theirs = peer.GaussianHMM(
        3, {"full": "full", "diagonal": "diag"}[kind], n_iter=10, tol=-np.inf, init_params="",
        covars_prior=0, covars_weight=-3 if kind == "full" else 1, min_covar=0,
        implementation="log",
    )  # fmt: skip
    theirs.startprob_, theirs.transmat_ = begun.start.numpy(), begun.transition.numpy()
    mixture = begun.emission.mixture  # pyright: ignore[reportAttributeAccessIssue]
    theirs.means_, theirs.covars_ = mixture.mean.numpy(), mixture.covariance.numpy()
    theirs.fit(x, lengths)
    rose = climb(ours, sequences, 10)
    np.testing.assert_allclose(
        rose[:10], np.array(theirs.monitor_.history)[-10:] / len(x), rtol=1e-9
    )


def test_its_answers_are_hmmlearns() -> None:
    peer = pytest.importorskip("hmmlearn.hmm")
    start, transition = draw_chain(3, 2)
    emission = np.random.default_rng(3).dirichlet(np.ones(5), 3)
    x, lengths = np.random.default_rng(4).integers(0, 5, 50), [20, 7, 23]
    theirs = peer.CategoricalHMM(3)
    theirs.startprob_, theirs.transmat_, theirs.emissionprob_ = start, transition, emission
    theirs.n_features = 5
    model = HiddenMarkov(
        torch.from_numpy(start), torch.from_numpy(transition),
        SymbolEmission(torch.from_numpy(emission), tuple("abcde")),
    )  # fmt: skip
    given = torch.from_numpy(x)
    assert float(model.log_prob(given, lengths).sum()) == pytest.approx(
        theirs.score(x[:, None], lengths)
    )
    np.testing.assert_array_equal(
        model.predict(given, lengths), theirs.predict(x[:, None], lengths)
    )
    np.testing.assert_allclose(
        model.responsibility(given, lengths), theirs.predict_proba(x[:, None], lengths), atol=1e-9
    )


def test_a_probability_never_becomes_nothing() -> None:
    """The least is the constraint's maximum, and what was 0 stays 0."""
    count = torch.tensor([[5.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    previous = torch.tensor([[0.3, 0.3, 0.4, 0.0], [0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
    p = share_out(count, previous)
    assert p[0].tolist() == pytest.approx([5 / 8, LEAST, 3 / 8, 0], rel=1e-9)
    assert p[1].tolist() == previous[1].tolist()
    assert p.sum(1).tolist() == pytest.approx([1, 1], rel=1e-12)


def test_an_unseen_symbol_has_a_finite_likelihood() -> None:
    x = np.array([0, 1, 0, 1, 0, 0])
    algorithm = BaumWelch(BaumWelch.Settings(k="2"))
    climb(algorithm, symbols(x, [6], 3), 20)
    unseen = symbols(np.array([0, 2, 1]), [3], 3)
    assert -40 < algorithm.log_likelihood(unseen) < -20  # one of 10⁻¹²


def test_a_start_without_a_path_is_said() -> None:
    model = HiddenMarkov(
        torch.tensor([1.0, 0.0]).double(),
        torch.eye(2).double(),
        SymbolEmission(torch.eye(2).double(), ("a", "b")),
    )
    sequences = symbols(np.array([0, 1, 0]), [3], 2)
    algorithm = BaumWelch(BaumWelch.Settings(k="2"))
    algorithm.begin(sequences, model)
    with pytest.raises(UserError, match="sequence 1: no path of states could have made it"):
        algorithm.update(Block(sequences, 0, 1))  # pyright: ignore[reportArgumentType]


def test_classes_are_the_states_that_symbols_are_of() -> None:
    emission = torch.tensor([[0.5, 0.4, 0.1, 0.0], [0.1, 0.1, 0.2, 0.6]]).double()
    transition = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).double()
    model = HiddenMarkov(transition[0], transition, SymbolEmission(emission, tuple("aexy")))
    assert list_classes(model, torch.tensor([10, 20, 0, 5])) == [["e", "a"], ["y"]]


def test_more_states_than_steps() -> None:
    with pytest.raises(UserError, match=r"k=5 states of 1 and 3 steps to learn from"):
        climb(BaumWelch(BaumWelch.Settings(k="5")), symbols(np.array([0, 1, 0]), [3], 2), 1)
