"""REINFORCE's gradient, averaged over everything that could have been sampled, is the exact policy gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.kl_control import KLControl
from fledge.algorithms.reinforce import Baseline, Reinforce
from fledge.errors import UserError
from fledge.exact.enumerable import Language, policy_gradient
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.sample.rollouts import rollout_rows
from fledge.stopwatch import Stopwatch
from tests.subjects import Gradients, TableNetwork, learner, policy_of, rollouts, seeded, spoken, transformer

EXACT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}


class Subject:
    """A language, a random policy over it as a table, a random reward for every sequence."""

    def __init__(self, vocabulary: int, length: int, stop: int | None, baseline: Baseline, beta: float = 0.0) -> None:
        self.language = Language(vocabulary, length, stop)
        self.network, reference = TableNetwork(vocabulary, length, seed=1), TableNetwork(vocabulary, length, seed=2)
        self.reward = torch.randn(len(self.language.sequences), dtype=torch.float64, generator=seeded(3))
        self.table = self.network.logits(self.language).detach()
        self.reference = self.language.log_prob(reference.logits(self.language)).detach()
        self.p = self.language.log_prob(self.table).exp()
        policy = TokenPolicy(self.network)
        fit = learner(policy)
        self.gradients = Gradients(fit)
        frozen = TokenPolicy(reference).frozen_copy() if beta else None
        self.algorithm = Reinforce(policy, fit, Stopwatch(), reference=frozen, kl=KLControl(beta), baseline=baseline)

    def ascent(self, *words: int) -> Tensor:
        """What one update on these sequences, as one group, adds to the table.  [P, V]"""
        logp = self.language.step_log_prob(self.table)
        group = torch.zeros(len(words), dtype=torch.long)
        self.algorithm.update(spoken(self.language, words, self.language.vocabulary, self.reward, logp, group))
        return -self.gradients.taken[-1][0][:, self.network.row_of(self.language)].T

    def expected(self) -> Tensor:
        """Over single samples."""
        return sum((self.p[i] * self.ascent(i) for i in range(len(self.p))), torch.zeros_like(self.table))

    def expected_in_pairs(self) -> Tensor:
        """Over all groups of two."""
        every = range(len(self.p))
        return sum(
            (self.p[i] * self.p[j] * self.ascent(i, j) for i in every for j in every), torch.zeros_like(self.table)
        )

    def exact(self, beta: float = 0.0) -> Tensor:
        return policy_gradient(self.language, self.table, self.reward, self.reference, beta)


@pytest.mark.parametrize("stop", [None, 0])
def test_without_a_baseline_the_expected_gradient_is_the_exact_one(stop: int | None) -> None:
    subject = Subject(3, 3, stop, "none")
    torch.testing.assert_close(subject.expected(), subject.exact(), **EXACT)
    assert subject.exact().abs().max() > 0.01


@pytest.mark.parametrize("stop", [None, 0])
def test_a_baseline_from_the_others_leaves_the_expected_gradient_as_it_is(stop: int | None) -> None:
    subject = Subject(3, 2, stop, "leave_one_out")
    torch.testing.assert_close(subject.expected_in_pairs(), subject.exact(), **EXACT)


@pytest.mark.parametrize("baseline", ["group", "batch"])
def test_a_baseline_that_holds_the_row_itself_scales_the_gradient(baseline: Baseline) -> None:
    """By (G−1)/G: a half for groups of two."""
    subject = Subject(3, 2, 0, baseline)
    torch.testing.assert_close(subject.expected_in_pairs(), subject.exact() / 2, **EXACT)


def test_with_the_kl_in_the_reward_the_expected_gradient_is_that_of_reward_minus_beta_kl() -> None:
    subject = Subject(3, 3, 0, "none", beta=0.7)
    torch.testing.assert_close(subject.expected(), subject.exact(0.7), **EXACT)
    assert (subject.exact(0.7) - subject.exact()).abs().max() > 0.01


def test_with_the_kl_and_a_baseline_from_the_others_too() -> None:
    subject = Subject(3, 2, 0, "leave_one_out", beta=0.7)
    torch.testing.assert_close(subject.expected_in_pairs(), subject.exact(0.7), **EXACT)


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
