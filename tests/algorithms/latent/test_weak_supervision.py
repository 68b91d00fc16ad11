"""The label model's posterior is Bayes' rule over every labelling, EM never falls and finds the
accuracies, constraints are met, and a regularised posterior is its closed form.
"""

from __future__ import annotations

import itertools
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fledge.algorithms.latent.regularised_posterior import Constraints
from fledge.algorithms.latent.weak_supervision import WeakSupervision
from fledge.errors import UserError
from fledge.models.latent.label_model import LabelModel, majority_vote
from fledge.rows.votes import Votes
from fledge.sample.points import Block


def cast_votes(
    N: int, accuracy: list[float], coverage: float, seed: int, C: int = 2
) -> tuple[Votes, Tensor]:
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(C, (N,), generator=random)
    x = torch.full((N, len(accuracy)), torch.nan, dtype=torch.float64)
    for m, a in enumerate(accuracy):
        right = torch.rand(N, generator=random) < a
        other = (truth + torch.randint(1, C, (N,), generator=random)) % C
        cast = torch.rand(N, generator=random) < coverage
        x[cast, m] = torch.where(right, truth, other)[cast].double()
    names = tuple(f"c{c}" for c in range(C))
    columns = tuple(f"f{m}" for m in range(len(accuracy)))
    texts = tuple(map(str, range(N)))
    return Votes(
        x, columns, None, truth, names, texts=texts, expected=(None,) * len(accuracy)
    ), truth


def test_the_posterior_is_that_of_enumeration() -> None:
    """Row by row, and together: p(y₁ … y_N | votes) summed over all C^N labellings."""
    votes, _ = cast_votes(4, [0.8, 0.6, 0.7], 0.7, 1, C=3)
    balance = [0.5, 0.3, 0.2]
    random = torch.Generator().manual_seed(2)
    table = torch.rand(3, 3, 4, generator=random, dtype=torch.float64).softmax(2)
    model = LabelModel(torch.tensor(balance, dtype=torch.float64), table, votes.names)
    total, marginal = 0.0, torch.zeros(4, 3, dtype=torch.float64)
    for y in itertools.product(range(3), repeat=4):
        p = 1.0
        for n, label in enumerate(y):
            p *= balance[label]
            for m in range(3):
                vote = float(votes.x[n, m])
                p *= float(table[m, label, 3 if math.isnan(vote) else int(vote)])
        total += p
        for n, label in enumerate(y):
            marginal[n, label] += p
    torch.testing.assert_close(model.posterior(votes.x), marginal / total, rtol=1e-12, atol=1e-14)
    assert float(model.log_prob(votes.x).sum()) == pytest.approx(math.log(total), abs=1e-10)


def test_accuracies_are_found_without_a_label() -> None:
    wanted = [0.9, 0.75, 0.6, 0.85]
    votes, truth = cast_votes(4000, wanted, 0.6, 2)
    algorithm = WeakSupervision(WeakSupervision.Settings(tolerance=1e-9, counts=0.01))
    while not algorithm.done:
        algorithm.update(Block(votes, 0, 1))
    model = algorithm.model
    assert model is not None
    assert model.accuracy.tolist() == pytest.approx(wanted, abs=0.04)
    by_model = (model.posterior(votes.x).argmax(1) == truth).double().mean()
    by_count = majority_vote(votes.x, 2).gather(1, truth[:, None]).mean()
    assert float(by_model) > float(by_count)


@settings(max_examples=30, deadline=None)
@given(
    N=st.integers(1, 40), M=st.integers(1, 5), C=st.integers(2, 4), seed=st.integers(0, 9999),
    balance=st.sampled_from(["even", "inferred"]),
)  # fmt: skip
def test_em_never_lowers_its_bound(N: int, M: int, C: int, seed: int, balance: str) -> None:
    votes, _ = cast_votes(N, [0.7] * M, 0.9, seed, C)
    if bool(votes.x.isnan().all()):
        return
    algorithm = WeakSupervision(WeakSupervision.Settings(balance=balance))  # pyright: ignore[reportArgumentType]
    bounds = [algorithm.update(Block(votes, 0, 1))["elbo"] for _ in range(15)]
    assert all(math.isfinite(bound) for bound in bounds)
    assert all(after >= before - 1e-10 for before, after in pairwise(bounds))


def test_constraints_are_met_and_their_dual_rises() -> None:
    votes, truth = cast_votes(500, [0.85, 0.6, 0.7], 0.7, 3)
    votes = Votes(**{**vars(votes), "expected": (0.85, 0.6, 0.7)})
    s = WeakSupervision.Settings(method="constraints", slack=1e-6, tolerance=1e-12)
    algorithm, duals = WeakSupervision(s), []
    while not algorithm.done:
        duals.append(algorithm.update(Block(votes, 0, 1))["elbo"])
    model = algorithm.model
    assert model is not None
    q = model.posterior(votes.x)
    for m, wanted in enumerate((0.85, 0.6, 0.7)):
        cast = ~votes.x[:, m].isnan()
        right = q[cast].gather(1, votes.x[cast, m].long()[:, None]).mean()
        assert float(right) == pytest.approx(wanted, abs=1e-6)
    assert all(after >= before - 1e-12 for before, after in pairwise(duals))
    assert float((q.argmax(1) == truth).double().mean()) > 0.7


def test_a_regularised_posterior_is_its_closed_form() -> None:
    """N coins of chance p, whose heads are to be b on the average: each becomes b, θ is the
    difference of log-odds, and the dual's top is N KL(b ‖ p).
    """
    N, p, b = 7, 0.2, 0.65
    log_prior = torch.tensor([1 - p, p], dtype=torch.float64).log().expand(N, 2)
    heads = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(N, 2, 1)
    made = Constraints(log_prior, heads, torch.tensor([N * b], dtype=torch.float64), 0.0)
    theta = torch.zeros(1, dtype=torch.float64)
    for _ in range(30):
        theta = made.climb(theta)
    assert float(theta) == pytest.approx(math.log(b / (1 - b)) - math.log(p / (1 - p)), abs=1e-7)
    assert made.posterior(theta)[:, 1].tolist() == pytest.approx([b] * N, abs=1e-8)
    kl = b * math.log(b / p) + (1 - b) * math.log((1 - b) / (1 - p))
    assert made.dual(theta) == pytest.approx(N * kl, abs=1e-8)


def test_nobody_votes() -> None:
    votes, _ = cast_votes(5, [0.7], 0.0, 4)
    with pytest.raises(UserError, match="no function votes"):
        WeakSupervision().begin(votes)
