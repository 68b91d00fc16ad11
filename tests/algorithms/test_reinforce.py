"""REINFORCE's gradient, averaged over everything that could have been sampled, is the exact policy gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from fledge.algorithms.kl_control import KLControl
from fledge.algorithms.reinforce import Baseline, Reinforce, score_norm
from fledge.errors import UserError
from fledge.sample.generate import generate
from fledge.sample.rollouts import rollout_rows
from fledge.stopwatch import Stopwatch
from tests.algorithms.enumeration import EXACT, Enumeration
from tests.subjects import learner, policy_of, rollouts, seeded, spoken, transformer


def reinforce(baseline: Baseline) -> Any:
    return partial(Reinforce, baseline=baseline)


@pytest.mark.parametrize("stop", [None, 0])
def test_without_a_baseline_the_expected_gradient_is_the_exact_one(stop: int | None) -> None:
    subject = Enumeration(reinforce("none"), 3, 3, stop)
    torch.testing.assert_close(subject.expected(), subject.exact(), **EXACT)
    assert subject.exact().abs().max() > 0.01


@pytest.mark.parametrize("stop", [None, 0])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("baseline", ["leave_one_out", "optimal"])
def test_a_baseline_from_the_others_leaves_the_expected_gradient_as_it_is(
    stop: int | None, size: int, baseline: Baseline
) -> None:
    subject = Enumeration(reinforce(baseline), 3, 2 if stop == 0 else 1, stop)
    torch.testing.assert_close(subject.expected(size), subject.exact(), **EXACT)
    assert subject.algorithm.gradient_claim == "unbiased"


def test_a_constant_baseline_leaves_it_too() -> None:
    subject = Enumeration(partial(Reinforce, baseline="constant", baseline_value=5.0), 3, 3, 0)
    torch.testing.assert_close(subject.expected(), subject.exact(), **EXACT)
    assert not torch.allclose(subject.ascent(0), Enumeration(reinforce("none"), 3, 3, 0).ascent(0))


@pytest.mark.parametrize("baseline", ["group", "batch"])
@pytest.mark.parametrize("size", [2, 3])
def test_a_baseline_that_holds_the_row_itself_scales_the_gradient(baseline: Baseline, size: int) -> None:
    subject = Enumeration(reinforce(baseline))
    torch.testing.assert_close(subject.expected(size), subject.exact() * (size - 1) / size, **EXACT)
    assert subject.algorithm.gradient_claim == "unbiased up to scale (G-1)/G"


def test_with_the_kl_in_the_reward_the_expected_gradient_is_that_of_reward_minus_beta_kl() -> None:
    subject = Enumeration(reinforce("none"), 3, 3, 0, beta=0.7)
    torch.testing.assert_close(subject.expected(), subject.exact(0.7), **EXACT)
    assert (subject.exact(0.7) - subject.exact()).abs().max() > 0.01


@pytest.mark.parametrize("baseline", ["leave_one_out", "optimal"])
def test_with_the_kl_and_a_baseline_from_the_others_too(baseline: Baseline) -> None:
    subject = Enumeration(reinforce(baseline), beta=0.7)
    torch.testing.assert_close(subject.expected(2), subject.exact(0.7), **EXACT)


def test_the_weight_of_the_optimal_baseline_is_the_squared_norm_of_a_tables_gradient() -> None:
    subject = Enumeration(reinforce("none"), 3, 3, 0)
    words = range(len(subject.p))
    batch = spoken(subject.language, words, 3, subject.reward, subject.step_logp)
    norms = score_norm(subject.algorithm.policy, batch, subject.algorithm.learner)
    squares = [subject.pull(torch.eye(len(subject.p), dtype=torch.float64)[i]).square().sum() for i in words]
    torch.testing.assert_close(norms, torch.stack(squares))


def test_no_constant_baseline_has_less_variance_than_the_optimal_one() -> None:
    """On 100 random languages and rewards, by enumeration: b* beats none, the mean reward, and its own neighbours on either side."""
    for seed in range(100):
        subject = Enumeration(partial(Reinforce, baseline="constant"), 2, 2, 0, seed=10 * seed)
        words = range(len(subject.p))
        one = torch.eye(len(words), dtype=torch.float64)
        squares = torch.stack([subject.pull(one[i]).square().sum() for i in words])  # ‖∇log π(y)‖², [S]
        best = float((subject.p * squares * subject.reward).sum() / (subject.p * squares).sum())
        mean = float((subject.p * subject.reward).sum())

        def second_moment(baseline: float, subject: Enumeration = subject, words: range = words) -> float:
            """The expected gradient is the same for all, so that this orders as the variance does."""
            subject.algorithm.baseline_value = baseline
            return sum(float(subject.p[i] * subject.ascent(i).square().sum()) for i in words)

        least = second_moment(best)
        for other in (0.0, mean, best - 0.1, best + 0.1):
            assert least <= second_moment(other) + 1e-12


def test_the_kl_that_is_reported_is_the_completions_k1_and_steers_beta() -> None:
    policy, reference = policy_of(transformer()), policy_of(transformer(5)).frozen_copy()
    batch = rollouts(policy)
    control = KLControl(0.1, target=0.5)
    figures = Reinforce(policy, learner(policy), Stopwatch(), reference=reference, kl=control).update(batch)
    assert batch.logp is not None
    gap = batch.logp - reference.log_prob(batch.obs, batch.action, batch.chosen)
    expected = torch.where(batch.chosen, gap, 0.0).sum(1).mean().item()
    assert figures["kl"] == pytest.approx(expected, rel=1e-5)
    assert figures["kl_coefficient"] == 0.1
    assert figures["drift"] < 1e-5
    assert control.beta == pytest.approx(0.1 * (1 + 0.1 * min(0.2, expected / 0.5 - 1)), rel=1e-5)


def test_samples_of_another_policy_are_refused() -> None:
    policy = policy_of(transformer())
    batch = rollouts(policy)
    assert batch.logp is not None
    with pytest.raises(UserError, match="disagree"):
        Reinforce(policy, learner(policy), Stopwatch()).update(batch.with_(logp=batch.logp - 0.5))


def test_it_learns_to_say_what_is_rewarded() -> None:
    """Reward: the share of the four tokens that are 7. Chance is 1 in 9."""
    policy = policy_of(transformer())
    algorithm = Reinforce(policy, learner(policy, rate=1e-2, clip=1.0), Stopwatch(), baseline="leave_one_out")
    random = seeded(0)
    scores = []
    for _ in range(60):
        completions = generate(policy, [[1]], max_new_tokens=4, stop=-1, samples=64, generator=random)
        reward = [completion.tokens.count(7) / 4 for completion in completions]
        algorithm.update(rollout_rows(completions, reward, [0] * 64))
        scores.append(sum(reward) / 64)
    assert scores[0] < 0.3
    assert scores[-1] > 0.95
