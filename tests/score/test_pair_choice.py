"""What a pair would tell, beside numerical integration and linear algebra that are written down
here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fledge.score.pair_choice import PAIR_METHODS, choose_pairs, pair_bald

ENTROPY = lambda p: -p * np.log(p) - (1 - p) * np.log(1 - p)  # noqa: E731


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=random)


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.3), (1.2, 1.0), (-3.0, 2.5), (0.5, 0.0)])
def test_bald_is_the_mutual_information_of_answer_and_reward(mean: float, spread: float) -> None:
    """By the trapezoid over ±12 deviations in 20,001 points."""
    z = np.linspace(-12, 12, 20_001)
    weight = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    p = 1 / (1 + np.exp(-(mean + spread * z)))
    told = float(ENTROPY((weight * p).sum()) - (weight * ENTROPY(p)).sum())
    said = pair_bald(torch.tensor([mean]).double(), torch.tensor([spread**2]).double())
    assert float(said[0]) == pytest.approx(told, abs=1e-6)


def test_several_at_a_time_are_chosen_as_if_those_before_had_been_answered() -> None:
    """Beside the covariance that is inverted anew after each."""
    d, covariance = draw(25, 4, seed=1), torch.linalg.inv(draw(4, 4, seed=2).cov() + torch.eye(4))
    mean, asked = draw(4, seed=3), torch.tensor([0, 5])
    generator = torch.Generator().manual_seed(0)
    said = choose_pairs("batch_bald", d, mean, covariance, asked, 6, generator).tolist()
    left, expected = covariance.clone(), []
    for _ in range(6):
        scores = pair_bald(d @ mean, torch.einsum("nd,de,ne->n", d, left, d))
        scores[[0, 5, *expected]] = -1
        best = int(scores.argmax())
        expected.append(best)
        z = np.linspace(-12, 12, 4001)
        weight = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
        lead, spread = float(d[best] @ mean), float(d[best] @ left @ d[best]) ** 0.5
        p = float((weight / (1 + np.exp(-(lead + spread * z)))).sum())
        left = torch.linalg.inv(torch.linalg.inv(left) + p * (1 - p) * d[best].outer(d[best]))
    assert said == expected


def test_copies_are_not_asked_about_twice_in_a_row() -> None:
    """Nine copies of the pair that tells most, and one other."""
    d = torch.tensor([[2.0, 0.0]] * 9 + [[0.0, 1.0]]).double()
    mean, covariance, nothing = torch.zeros(2).double(), 4 * torch.eye(2).double(), torch.tensor([])
    generator = torch.Generator().manual_seed(0)
    two = {
        method: choose_pairs(method, d, mean, covariance, nothing.long(), 2, generator).tolist()
        for method in ("bald", "batch_bald")
    }
    assert max(two["bald"]) < 9
    assert two["batch_bald"][1] == 9


@pytest.mark.parametrize("method", PAIR_METHODS)
def test_what_was_asked_about_is_not_asked_about_again(method: str) -> None:
    d, asked = draw(30, 4, seed=4), torch.arange(0, 30, 2)
    generator = torch.Generator().manual_seed(0)
    mean, covariance = draw(4, seed=5), torch.eye(4).double()
    chosen = choose_pairs(method, d, mean, covariance, asked, 15, generator)
    assert sorted(chosen.tolist()) == list(range(1, 30, 2))
