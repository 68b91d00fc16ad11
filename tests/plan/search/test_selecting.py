"""The formulas of Gumbel's search, written out for one node, and its halvings by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fledge.plan.search.selecting import improved_logits, list_halvings, mix_value, softmax


def test_halvings_by_hand() -> None:
    # Two phases of four simulations: four edges once each, then two edges twice more.
    assert list_halvings(4, 8) == (0, 0, 0, 0, 1, 1, 2, 2)
    # Three phases of 5: eight edges once (8 > 5), four once, two until the end.
    assert list_halvings(8, 16) == (0,) * 8 + (1,) * 4 + (2, 2, 3, 3)
    assert list_halvings(1, 3) == (0, 1, 2)
    assert list_halvings(2, 5) == (0, 0, 1, 1, 2)


@pytest.mark.parametrize("considered", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("simulations", [1, 7, 16, 50, 400])
def test_halvings_spend_every_simulation_on_edges_that_are_left(
    considered: int, simulations: int
) -> None:
    sequence = list_halvings(considered, simulations)
    assert len(sequence) == simulations
    tried = [0] * considered
    for n in sequence:  # there is always an edge that has been tried just so often
        edge = tried.index(n)
        tried[edge] += 1
    assert sorted(tried, reverse=True) == tried
    assert sum(tried) == simulations


def test_completed_values_by_hand() -> None:
    prior, n = np.array([[0.5, 0.3, 0.2]]), np.array([[3.0, 1.0, 0.0]])
    q, value = np.array([[0.2, -0.4, 0.0]]), np.array([0.1])
    mixed = (0.1 + 4 * (0.5 * 0.2 + 0.3 * -0.4) / 0.8) / 5
    assert mix_value(q, n, prior, value)[0] == pytest.approx(mixed, abs=1e-15)
    logits = improved_logits(q, n, prior, value, np.ones((1, 3), bool), 50.0, 0.1)[0]
    weight = (50 + 3) * 0.1
    for a, worth in enumerate((0.2, -0.4, mixed)):
        expected = math.log(prior[0, a]) + weight * (1 + worth) / 2
        assert logits[a] == pytest.approx(expected, abs=1e-12)


def test_the_improved_policy_is_never_worse() -> None:
    """Danihelka et al. 2022, appendix C: under exact values Σ π′ q ≥ Σ π q."""
    draw = np.random.default_rng(0)
    prior = draw.dirichlet(np.ones(6), size=300)
    q = draw.uniform(-1, 1, size=(300, 6))
    n = draw.integers(0, 4, size=(300, 6)).astype(float)
    n[:, 0] += 1
    value = (prior * q).sum(1)
    allowed = np.ones(q.shape, bool)
    completed = np.where(n > 0, q, mix_value(q, n, prior, value)[:, None])
    policy = softmax(improved_logits(q, n, prior, value, allowed, 50.0, 1.0))
    assert ((policy * completed).sum(1) >= (prior * completed).sum(1) - 1e-12).all()
    np.testing.assert_allclose(policy.sum(1), 1)
