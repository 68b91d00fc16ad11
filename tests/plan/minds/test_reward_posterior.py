"""A posterior over rewards beside the sum over a grid of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from fledge.plan.minds.reward_posterior import RewardPosterior

S, A, T, DEMONSTRATIONS, SPREAD = 3, 2, 3, 6, 1.5


def make() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(8)
    transition = torch.randn(1, A, S, S, dtype=torch.float64, generator=random).softmax(-1)
    start = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)
    return transition, start, features, torch.tensor([[1.3, 1.7]], dtype=torch.float64)


def log_density(weight: Sequence[float]) -> float:
    """In plain numbers, state by state."""
    transition, start, _, counts = make()
    chance, reward = transition[0].tolist(), [weight[0], weight[1], weight[1]]
    value = [0.0] * S
    for _ in range(T):
        value = [
            math.log(sum(
                math.exp(reward[s] + sum(chance[a][s][n] * value[n] for n in range(S)))
                for a in range(A)
            )) for s in range(S)
        ]  # fmt: skip
    fit = sum(w * c for w, c in zip(weight, counts[0].tolist(), strict=True))
    fit -= sum(p * v for p, v in zip(start[0].tolist(), value, strict=True))
    return DEMONSTRATIONS * fit - sum(w * w for w in weight) / (2 * SPREAD**2)


def test_chains_come_by_rewards_as_often_as_a_grid_says() -> None:
    """48 chains, each a mean over 400 steps: the chains' own spread says how far their mean may be
    off, and 4.5 of such a standard error is passed by less than one draw of seeds in 10,000.
    """
    grid = [x / 8 for x in range(-56, 57)]
    weights = [(a, b, math.exp(log_density((a, b)))) for a in grid for b in grid]
    total = sum(w for _, _, w in weights)
    mean = sum((a - b) / 2 * w for a, b, w in weights) / total
    square = sum(((a - b) / 2 - mean) ** 2 * w for a, b, w in weights) / total
    transition, start, features, counts = make()
    chain = RewardPosterior(
        transition, start, features, counts, T, DEMONSTRATIONS, chains=48, spread=SPREAD,
        total=800, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert chain.log_density[0] == pytest.approx(log_density(chain.weight[0].tolist()), abs=1e-12)
    for _ in range(800):
        chain.update()
    told = chain.gather()[..., 0]  # [n, C]
    assert len(told) == 400
    by_chain = told.mean(0)
    error = float(by_chain.std()) / math.sqrt(48)
    assert float(by_chain.mean()) == pytest.approx(mean, abs=4.5 * error)
    spread = (told - mean).square().mean(0)
    error = float(spread.std()) / math.sqrt(48)
    assert float(spread.mean()) == pytest.approx(square, abs=4.5 * error)


def test_a_chain_goes_on_from_its_state() -> None:
    transition, start, features, counts = make()
    one, other = (
        RewardPosterior(
            transition, start, features, counts, T, DEMONSTRATIONS, chains=3, spread=SPREAD,
            total=20, generator=torch.Generator().manual_seed(seed),
        ) for seed in (1, 2)
    )  # fmt: skip
    for _ in range(12):
        one.update()
    other.load_state_dict(one.state_dict())
    for _ in range(8):
        assert one.update() == other.update()
    assert torch.equal(one.gather(), other.gather())
