"""What acquisition functions say, beside sums that are written down here."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fledge.score.acquisition import (
    METHODS,
    bald,
    choose,
    core_set,
    expected_change,
    margin,
    uncertainty,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=random)


def test_bald_is_the_mutual_information_of_label_and_weights() -> None:
    """Σ_{k,y} p(k, y) log p(k, y) / (p(k) p(y)), of K weights as likely as each other."""
    p = draw(4, 3, 5).softmax(-1)
    for n, said in enumerate(bald(p).tolist()):
        table = (p[:, n] / 4).tolist()
        by_label = [sum(row[y] for row in table) for y in range(5)]
        expected = sum(
            table[k][y] * math.log(table[k][y] / (0.25 * by_label[y]))
            for k, y in itertools.product(range(4), range(5))
        )
        assert said == pytest.approx(expected, abs=1e-12)


def test_the_expected_change_is_the_mean_length_of_gradients() -> None:
    weight, x = draw(3, 4, seed=1).requires_grad_(True), draw(6, 3, seed=2)
    p = (x @ weight).softmax(-1)
    said = expected_change(p.detach(), x)
    for n in range(6):
        expected = 0.0
        for y in range(4):
            nll = -(x[n] @ weight).log_softmax(-1)[y]
            [slope] = torch.autograd.grad(nll, weight)
            expected += float(p[n, y].detach() * slope.norm())
        assert float(said[n]) == pytest.approx(expected, abs=1e-12)


def test_a_sure_label_is_asked_for_last() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.4, 0.3, 0.3]]).double()
    assert uncertainty(p).argsort(descending=True).tolist() == [2, 0, 1]
    assert margin(p).argsort(descending=True).tolist() == [0, 2, 1]
    assert float(uncertainty(p)[0]) == pytest.approx(math.log(2))


def test_a_core_set_takes_the_farthest_in_turn() -> None:
    """On a line at 0, 1, 4, 10: from 0 it is 10, then 4, which is 4 from 0, then 1."""
    x = torch.tensor([[0.0], [1.0], [4.0], [10.0]])
    assert core_set(x, torch.tensor([0]), 3).tolist() == [3, 2, 1]
    copies = torch.zeros(4, 1)
    assert sorted(core_set(copies, torch.tensor([0]), 3).tolist()) == [1, 2, 3]


@pytest.mark.parametrize("method", METHODS)
def test_what_has_a_label_is_not_asked_for_again(method: str) -> None:
    x, draws = draw(30, 4, seed=3), draw(5, 30, 3, seed=4).softmax(-1)
    labelled = torch.arange(0, 30, 2)
    chosen = choose(method, x, labelled, 15, draws, torch.Generator().manual_seed(0))
    assert sorted(chosen.tolist()) == list(range(1, 30, 2))


def test_a_round_is_drawn_as_the_power_of_the_scores() -> None:
    """One of three things with entropies in the ratio 1 : 2 : 0 at a power of 2: shares of 1/5, 4/5
    and none in 4,000 draws, whose deviation is 0.0063: five of them are a false alarm in 10⁶.
    """
    half = 0.11002786443835955  # h with H(h) = ½ H(½): −h ln h − (1 − h) ln(1 − h) = ½ ln 2
    p = torch.tensor([[half, 1 - half], [0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)
    generator, nothing = torch.Generator().manual_seed(0), torch.zeros(0, dtype=torch.long)
    counts = torch.zeros(3)
    for _ in range(4000):
        [one] = choose("uncertainty", p, nothing, 1, p[None], generator, power=2.0).tolist()
        counts[one] += 1
    assert float(counts[2]) == 0
    assert float(counts[1]) / 4000 == pytest.approx(0.8, abs=0.032)
    highest = choose("uncertainty", p, nothing, 2, p[None], generator, power=1000.0)
    assert highest.tolist() == [1, 0]
