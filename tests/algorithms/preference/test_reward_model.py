"""A reward model recovers the ranking by which its pairs were made."""

from __future__ import annotations

import math

import pytest
import torch

from fledge.algorithms.preference.reward_model import RewardModelling
from fledge.models.language.heads import ScalarModel
from fledge.sample.conversations import pair_rows
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Pairs
from tests.subjects import learner, seeded, transformer

Random = torch.Generator
WORTH = [0.0, 0.0, 0.0, 2.0, -1.0, 0.5, 3.0, -2.0, 1.0, -0.5, 0.2]  # of each token in an answer


def answers(count: int, random: Random) -> list[list[int]]:
    lengths = torch.randint(2, 7, (count,), generator=random).tolist()
    return [torch.randint(3, 11, (n,), generator=random).tolist() for n in lengths]


def pairs(count: int, random: Random) -> Pairs:
    """The better one of two random answers is the one whose tokens are worth more."""
    ranked = []
    for one, other in zip(answers(count, random), answers(count, random), strict=True):
        better, worse = sorted(
            (one, other), key=lambda answer: -sum(WORTH[token] for token in answer)
        )
        ranked.append(
            tuple(
                ([1, *answer, 2], [False] + [True] * (len(answer) + 1))
                for answer in (better, worse)
            )
        )
    return pair_rows(ranked)


def test_it_recovers_a_known_rewards_ranking() -> None:
    """Held-out pairs: 9 of 10 the right way round, after 80 steps of 64 pairs."""
    model = ScalarModel(transformer(0, width=32, heads=4, kv_heads=4))
    algorithm = RewardModelling(model, learner(model, rate=3e-3, clip=1.0), Stopwatch())
    random = seeded(0)
    first = algorithm.update(pairs(64, random))
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)  # a fresh one prefers nothing
    assert first["pair_accuracy"] == 0.5
    figures = first
    for _ in range(80):
        figures = algorithm.update(pairs(64, random))
    assert figures["reward_gap"] > 0
    unseen = pairs(500, seeded(99))
    with torch.no_grad():
        preferred = model.score(unseen.preferred.obs, unseen.preferred.last())
        rejected = model.score(unseen.rejected.obs, unseen.rejected.last())
    assert (preferred > rejected).float().mean() > 0.9


def test_a_margin_asks_for_a_wider_gap() -> None:
    batch = pairs(8, seeded(1))
    losses = []
    for margin in (0.0, 2.0):
        model = ScalarModel(transformer())
        losses.append(
            RewardModelling(model, learner(model), Stopwatch(), margin=margin).update(batch)["loss"]
        )
    assert losses == pytest.approx([math.log(2), math.log1p(math.exp(2))], abs=1e-6)
