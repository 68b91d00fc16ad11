"""Reward-weighted regression climbs log E[exp(r/β)], and what that is in expectation over groups is
written down.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from fledge.algorithms.policy.reward_weighted import AWR, RewardWeighted
from fledge.stopwatch import Stopwatch
from tests.algorithms.enumeration import EXACT, Enumeration, cosine, relative_error
from tests.every_algorithm import policy
from tests.subjects import Gradients, learner, rollouts


@pytest.mark.parametrize("weights", ["group", "batch"])
def test_in_pairs_the_expected_gradient_is_the_stated_one(weights: Any) -> None:
    """E[Σ_i w_i ∇log π(y_i)], w the softmax of r/β within the pair: 2·Σ_i p_i Σ_j p_j σ((r_i −
    r_j)/β)·∇log π(y_i).
    """
    subject = Enumeration(
        partial(
            RewardWeighted,
            settings=RewardWeighted.Settings(weights=weights, reward_temperature=0.5),
        )
    )
    ascent = subject.expected(2)
    share = torch.sigmoid((subject.reward[:, None] - subject.reward) / 0.5)  # [S, S]
    torch.testing.assert_close(
        ascent, 2 * subject.pull((subject.p[:, None] * subject.p * share).sum(1)), **EXACT
    )
    assert relative_error(ascent, subject.exact()) == pytest.approx(0.379, abs=1e-3)
    assert cosine(ascent, subject.exact()) == pytest.approx(0.985, abs=1e-3)


def test_the_kl_penalty_counts_as_reward() -> None:
    subject = Enumeration(
        partial(RewardWeighted, settings=RewardWeighted.Settings(reward_temperature=0.5)), beta=0.7
    )
    worth = (subject.reward - 0.7 * (subject.p.log() - subject.reference)) / 0.5
    share = torch.sigmoid(worth[:, None] - worth)
    expected = 2 * subject.pull((subject.p[:, None] * subject.p * share).sum(1))
    torch.testing.assert_close(subject.expected(2), expected, **EXACT)


def test_awr_weighs_by_the_advantage_over_the_mean_and_caps_the_weight() -> None:
    """In pairs the advantage is half the gap: min(exp((r_i − r_j)/2β), cap)."""
    for cap in (20.0, 1.5):
        subject = Enumeration(
            partial(RewardWeighted, settings=AWR.replace(reward_temperature=0.5, weight_cap=cap))
        )
        weight = ((subject.reward[:, None] - subject.reward) / 2 / 0.5).exp().clamp(max=cap)
        expected = subject.pull((subject.p[:, None] * subject.p * weight).sum(1))
        torch.testing.assert_close(subject.expected(2), expected, **EXACT)


def test_awr_s_baseline_is_the_mean_of_the_rows_own_group() -> None:
    """Two groups by hand, means 2 and 13: neither the mean of all rows, nor that of the others, nor
    the largest.
    """
    actor = policy()
    algorithm = RewardWeighted(
        actor, learner(actor), Stopwatch(), settings=AWR.replace(reward_temperature=2.0)
    )
    weight = algorithm.weigh(
        torch.tensor([1.0, 10.0, 3.0, 16.0]).double(), torch.tensor([5, 2, 5, 2])
    )
    torch.testing.assert_close(weight, torch.tensor([-0.5, -1.5, 0.5, 1.5]).double().exp())


def test_a_weight_without_a_cap_is_held_at_e_to_the_60() -> None:
    actor = policy()
    algorithm = RewardWeighted(
        actor, learner(actor), Stopwatch(), settings=RewardWeighted.Settings(weights="advantage")
    )
    weight = algorithm.weigh(
        torch.tensor([118.0, 0.0, 400.0, 0.0]).double(), torch.tensor([0, 0, 1, 1])
    )
    torch.testing.assert_close(weight.log(), torch.tensor([59.0, -59.0, 60.0, -200.0]).double())


def test_many_samples_climb_the_log_of_the_mean_of_exp_reward() -> None:
    """All sequences as often as the policy says them: exactly ∇ log Σ_y π(y)·exp(r(y)/β)."""
    subject = Enumeration(
        partial(
            RewardWeighted,
            settings=RewardWeighted.Settings(weights="batch", reward_temperature=0.5),
        ),
        2,
        2,
        None,
    )
    # probabilities in eighths, so that 64 rows hold every sequence exactly as often as it is likely
    with torch.no_grad():
        columns = subject.network.row_of(subject.language)
        subject.network.table[:, columns] = (
            torch.tensor([[0.25, 0.5, 0.125], [0.75, 0.5, 0.875]]).double().log()
        )
    subject.table = subject.network.logits(subject.language).detach()
    subject.step_logp = subject.language.step_log_prob(subject.table)
    p = subject.language.log_prob(subject.table).exp()
    words = [i for i in range(len(p)) for _ in range(round(64 * float(p[i])))]
    assert len(words) == 64
    share = (p * (subject.reward / 0.5).exp()) / (p * (subject.reward / 0.5).exp()).sum()
    torch.testing.assert_close(subject.ascent(*words), subject.pull(share), rtol=1e-6, atol=1e-7)


def test_weights_have_mean_one_and_huge_rewards_stay_finite() -> None:
    actor = policy()
    batch = rollouts(actor)
    for weights in ("group", "batch"):
        for scale in (1.0, 1e4):
            algorithm = RewardWeighted(
                actor,
                learner(actor),
                Stopwatch(),
                settings=RewardWeighted.Settings(weights=weights),
            )
            score = scale * batch.reward.sum(1)
            weight = algorithm.weigh(score, batch.group)  # pyright: ignore[reportArgumentType]
            assert weight.mean().item() == pytest.approx(1)
            assert torch.isfinite(weight).all()


def test_over_the_batch_scores_far_above_the_mean_are_told_apart() -> None:
    actor = policy()
    algorithm = RewardWeighted(
        actor, learner(actor), Stopwatch(), settings=RewardWeighted.Settings(weights="batch")
    )
    for score in ([0.0] * 4 + [2000.0, 3000.0, 4000.0, 0.0], [-5000.0, 0.0, 1.0, 2.0], [7.0] * 5):
        worth = torch.tensor(score, dtype=torch.float64)
        weight = algorithm.weigh(worth, torch.zeros(len(score)))
        torch.testing.assert_close(weight, worth.softmax(0) * len(score))


def test_equal_rewards_are_maximum_likelihood() -> None:
    """With weight 1 on every row the gradient is that of the mean over rows of log π(y)."""
    actor = policy()
    fit, batch = learner(actor), rollouts(actor)
    gradients = Gradients(fit)
    figures = RewardWeighted(actor, fit, Stopwatch()).update(
        batch.replace(reward=torch.zeros_like(batch.reward))
    )
    assert figures["effective_sample_size"] == pytest.approx(16)
    assert figures["zero_spread_groups"] == 1
    logp = actor.log_prob(batch.obs, batch.action, batch.chosen)
    plain = torch.autograd.grad(-logp.sum(1).mean(), fit.parameters)
    torch.testing.assert_close(
        gradients.flat, torch.cat([g.flatten() for g in plain]), rtol=1e-10, atol=1e-12
    )
