"""A posterior over rewards beside the sum over a grid of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from fledge.plan.minds.reward_posterior import RewardPosterior

S, A, T, SPREAD = 3, 2, 3, 1.5
# (state, action) step by step. Chance has a part in where these went: other walks with the same
# mean counts say something else of the rewards.
WALKS = (
    ((0, 1), (1, 0), (2, 0)), ((0, 1), (2, 1), (0, 1)), ((0, 0), (0, 1), (1, 1)),
    ((1, 0), (1, 0), (2, 1)), ((1, 1), (0, 1), (2, 0)), ((2, 0), (1, 1), (1, 0)),
)  # fmt: skip


def make() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(8)
    transition = torch.randn(1, A, S, S, dtype=torch.float64, generator=random).softmax(-1)
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)
    acts = torch.zeros(1, T, S, A, dtype=torch.float64)
    for walk in WALKS:
        for t, (s, a) in enumerate(walk):
            acts[0, t, s, a] += 1
    return transition, features, acts


def log_density(weight: Sequence[float]) -> float:
    """In plain numbers: the chance of each thing that was done, walk by walk."""
    chance, reward = CHANCE, (weight[0], weight[1], weight[1])
    total, value = -sum(w * w for w in weight) / (2 * SPREAD**2), [0.0] * S
    for t in reversed(range(T)):
        q = [
            [reward[s] + sum(chance[a][s][n] * value[n] for n in range(S)) for a in range(A)]
            for s in range(S)
        ]
        value = [math.log(sum(map(math.exp, each))) for each in q]
        total += sum(q[walk[t][0]][walk[t][1]] - value[walk[t][0]] for walk in WALKS)
    return total


CHANCE = make()[0][0].tolist()


def test_chains_come_by_rewards_as_often_as_a_grid_says() -> None:
    """48 chains, each a mean over 400 steps: the chains' own spread says how far their mean may be
    off, and 4.5 of such a standard error is passed by less than one draw of seeds in 10,000.
    """
    grid = [x / 8 for x in range(-56, 57)]
    weights = [(a, b, math.exp(log_density((a, b)))) for a in grid for b in grid]
    total = sum(w for _, _, w in weights)
    mean = sum((a - b) / 2 * w for a, b, w in weights) / total
    square = sum(((a - b) / 2 - mean) ** 2 * w for a, b, w in weights) / total
    chain = RewardPosterior(
        *make(), chains=48, spread=SPREAD, total=800, generator=torch.Generator().manual_seed(0)
    )
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
    one, other = (
        RewardPosterior(
            *make(), chains=3, spread=SPREAD, total=20,
            generator=torch.Generator().manual_seed(seed),
        ) for seed in (1, 2)
    )  # fmt: skip
    for _ in range(12):
        one.update()
    other.load_state_dict(one.state_dict())
    for _ in range(8):
        assert one.update() == other.update()
    assert torch.equal(one.gather(), other.gather())
