"""The projection is the nearest distribution that keeps to the constraints: nearer than any other
that was tried.
"""

from __future__ import annotations

import math

import pytest
import torch

from fledge.exact.constraint import project


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_one_coin_by_hand() -> None:
    """p(1) = 0.8 is to be at most 0.5: λ = log 4."""
    projection = project(
        torch.tensor([0.2, 0.8]).double().log(),
        torch.tensor([[0.0, 1.0]]).double(),
        torch.tensor([0.5]),
    )
    torch.testing.assert_close(projection.logq.exp(), torch.tensor([0.5, 0.5]).double())
    assert projection.multiplier.item() == pytest.approx(math.log(4))


def test_no_feasible_distribution_is_nearer() -> None:
    logp, feature = draw(12, seed=1).log_softmax(0), draw(2, 12, seed=2)
    bound = feature @ logp.exp() - torch.tensor([0.3, 0.1])
    projection = project(logp, feature, bound)
    q = projection.logq.exp()
    assert float((feature @ q - bound).max()) < 1e-9
    assert float((projection.multiplier * (feature @ q - bound)).abs().max()) < 1e-9
    distance = float((q * (projection.logq - logp)).sum())
    nearer = 0
    for seed in range(2000):
        other = (projection.logq + 0.2 * draw(12, seed=seed)).softmax(0)
        if bool((feature @ other <= bound).all()):
            nearer += 1
            assert float((other * (other.log() - logp)).sum()) >= distance
    assert nearer > 20  # of the 2000, enough were feasible


def test_a_constraint_that_is_met_already_changes_nothing() -> None:
    logp, feature = draw(6).log_softmax(0), draw(1, 6, seed=3)
    projection = project(logp, feature, feature @ logp.exp() + 0.1)
    torch.testing.assert_close(projection.logq, logp)
    assert projection.multiplier.item() == 0


def test_what_cannot_be_met_is_refused() -> None:
    logp = draw(4).log_softmax(0)
    with pytest.raises(ValueError, match="φ_0 is 2 or more everywhere"):
        project(logp, torch.tensor([[2.0, 3.0, 4.0, 5.0]]).double(), torch.tensor([1.0]).double())
    both = torch.tensor(
        [[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]
    ).double()  # one or the other must be a half
    with pytest.raises(ValueError, match="Loosen one"):
        project(logp, both, torch.tensor([0.4, 0.4]).double(), steps=500)
