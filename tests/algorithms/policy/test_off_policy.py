"""Samples of another policy, weighted: averaged over all of them, the exact gradient; truncated,
the bias that truncation must have.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from fledge.algorithms.policy.off_policy import OffPolicy
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.errors import UserError
from fledge.log_prob import Decoding
from fledge.score.kl_control import KLControl
from fledge.stopwatch import Stopwatch
from fledge.weigh import effective_sample_size, importance_weights
from tests.algorithms.enumeration import EXACT, Enumeration, relative_error
from tests.every_algorithm import policy
from tests.subjects import Gradients, learner, rollouts, seeded, speak


@pytest.mark.parametrize("weights", ["trajectory", "decision"])
@pytest.mark.parametrize("stop", [None, 0])
@pytest.mark.parametrize(
    ("beta", "baseline_value"), [(0.0, 0.0), (0.7, 0.0), (0.0, 3.0), (0.7, -1.0)]
)
def test_the_expected_gradient_is_the_exact_one(
    weights: Any, stop: int | None, beta: float, baseline_value: float
) -> None:
    make = partial(
        OffPolicy, settings=OffPolicy.Settings(importance=weights, baseline_value=baseline_value)
    )
    subject = Enumeration(make, 3, 3, stop, beta=beta, off_policy=True)
    torch.testing.assert_close(subject.expected(), subject.exact(beta), **EXACT)
    assert subject.algorithm.gradient_claim == "unbiased"
    assert (subject.acting - subject.p).abs().max() > 0.05


def test_rewards_on_the_way_are_weighted_by_the_decisions_before_them() -> None:
    """Every step earns, by the symbols so far: both are exact, by other numbers for each sample."""
    per_sample = []
    for weights in ("trajectory", "decision"):
        subject = Enumeration(
            partial(OffPolicy, settings=OffPolicy.Settings(importance=weights)),
            3,
            3,
            0,
            off_policy=True,
        )
        opened = {word[: t + 1] for word in subject.language.sequences for t in range(len(word))}
        worth = dict(
            zip(sorted(opened), torch.randn(len(opened), generator=seeded(5)).tolist(), strict=True)
        )
        estimates = []
        for i, word in enumerate(subject.language.sequences):
            earned = [worth[word[: t + 1]] for t in range(len(word))]
            subject.reward[i] = sum(earned)
            batch = speak(subject.language, [i], 3, subject.reward, subject.step_logp)
            reward = torch.tensor([earned + [0.0] * (3 - len(word))], dtype=torch.float64)
            subject.algorithm.update(batch.replace(reward=reward))
            estimates.append(
                -subject.gradients.taken[-1][0][:, subject.network.row_of(subject.language)].T
            )
        per_sample.append(torch.stack(estimates))
        mean = (subject.acting[:, None, None] * per_sample[-1]).sum(0)
        torch.testing.assert_close(mean, subject.exact(), **EXACT)
    assert (per_sample[0] - per_sample[1]).abs().max() > 0.1


@pytest.mark.parametrize(("truncate_at", "error"), [(2.0, 0.713), (1.0, 0.771), (0.2, 0.862)])
def test_truncation_has_its_stated_bias(truncate_at: float, error: float) -> None:
    """Σ_y μ(y)·min(π/μ, c)·r(y)·∇log π(y), by the enumeration alone."""
    subject = Enumeration(
        partial(
            OffPolicy, settings=OffPolicy.Settings(importance="trajectory", truncate_at=truncate_at)
        ),
        3,
        3,
        0,
        off_policy=True,
    )
    ascent = subject.expected()
    kept = torch.minimum(subject.p, truncate_at * subject.acting) * subject.reward
    torch.testing.assert_close(ascent, subject.pull(kept), **EXACT)
    assert relative_error(ascent, subject.exact()) == pytest.approx(error, abs=1e-3)
    assert subject.algorithm.gradient_claim == f"biased: importance weights end at {truncate_at:g}"


def test_on_the_policys_own_samples_it_is_reinforce() -> None:
    actor = policy()
    fit, batch = learner(actor), rollouts(actor)
    gradients = Gradients(fit)
    for weights in ("trajectory", "decision"):
        figures = OffPolicy(
            actor, fit, Stopwatch(), settings=OffPolicy.Settings(importance=weights)
        ).update(batch)
        assert figures["effective_sample_size"] == pytest.approx(16)
    Reinforce(actor, fit, Stopwatch(), settings=Reinforce.Settings(baseline="none")).update(batch)
    one, other, reinforce = (torch.cat([g.flatten() for g in taken]) for taken in gradients.taken)
    torch.testing.assert_close(one, reinforce, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(other, reinforce, rtol=1e-10, atol=1e-12)


def test_from_the_second_step_on_a_batch_counts_as_an_older_policys() -> None:
    """Two steps on one batch are the two steps of two calls, of which the second is told what
    acted: the policy before the first.
    """
    batch, weights = rollouts(policy()), []
    for at_once in (True, False):
        actor = policy()
        algorithm = OffPolicy(
            actor,
            learner(actor),
            Stopwatch(),
            settings=OffPolicy.Settings(epochs=2 if at_once else 1),
        )
        assert algorithm.gradient_claim.startswith(
            "biased: from its second step" if at_once else "unbiased"
        )
        figures = [algorithm.update(batch) for _ in range(1 if at_once else 2)]
        assert figures[-1]["effective_sample_size"] < 16 - 1e-6
        assert figures[0]["updates"] == (2 if at_once else 1)
        weights.append(torch.cat([p.detach().flatten() for p in actor.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-6, atol=1e-8)


def test_samples_from_far_away_are_taken_and_counted_for_what_they_are_worth() -> None:
    actor, other = policy(), policy(7)
    batch = rollouts(other, seed=3)
    assert batch.logp is not None
    with torch.no_grad():
        logp = actor.log_prob(batch.obs, batch.action, batch.chosen)
    ratio = torch.where(batch.chosen, logp - batch.logp, 0.0).sum(1).exp()
    figures = OffPolicy(actor, learner(actor), Stopwatch()).update(batch)
    assert figures["drift"] > 0.1  # which no on-policy algorithm would take
    assert figures["effective_sample_size"] == pytest.approx(
        float(ratio.sum() ** 2 / ratio.square().sum()), rel=1e-6
    )
    with pytest.raises(UserError, match="log-probabilities"):
        OffPolicy(actor, learner(actor), Stopwatch()).update(batch.replace(logp=None))


def test_the_kl_that_is_reported_is_the_policys_own() -> None:
    """Weighted to what the policy would have sampled: its expectation is KL(π‖π_ref), by
    enumeration.
    """
    subject = Enumeration(OffPolicy, 3, 2, 0, beta=0.7, off_policy=True)
    mean = dict.fromkeys(("kl_k1", "kl_k3"), 0.0)
    for i in range(len(subject.p)):
        batch = speak(subject.language, [i], 3, subject.reward, subject.step_logp)
        figures = subject.algorithm.update(batch)
        for name in mean:
            mean[name] += float(subject.acting[i]) * figures[name]
    exact = float((subject.p * (subject.p.log() - subject.reference)).sum())
    assert mean["kl_k1"] == pytest.approx(exact, rel=1e-9)
    assert isinstance(subject.algorithm.kl, KLControl)


def test_weights_are_running_products_and_the_effective_size_counts_the_heavy_ones() -> None:
    logp = torch.tensor([[0.5, 0.25, 0.9]]).log()
    behaviour = torch.tensor([[0.25, 0.5, 0.3]]).log()
    chosen = torch.tensor([[True, True, False]])
    torch.testing.assert_close(
        importance_weights(logp, behaviour, chosen), torch.tensor([[2.0, 1.0, 1.0]])
    )
    torch.testing.assert_close(
        importance_weights(logp, behaviour, chosen, 1.5), torch.tensor([[1.5, 1.0, 1.0]])
    )
    assert effective_sample_size(torch.tensor([1.0, 1.0, 1.0, 1.0])) == pytest.approx(4)
    assert effective_sample_size(torch.tensor([5.0, 0.0, 0.0])) == pytest.approx(1)
    assert effective_sample_size(torch.zeros(3)) == 0


@pytest.mark.parametrize("rule", [Decoding(top_k=2), Decoding(top_p=0.9), Decoding(min_p=0.1)])
def test_rules_that_cut_off_are_refused(rule: Decoding) -> None:
    actor = policy().with_rule(rule)
    with pytest.raises(UserError, match="top_k=0, top_p=1 and min_p=0"):
        OffPolicy(actor, learner(actor), Stopwatch())


def test_a_temperature_keeps_it_exact() -> None:
    """At another temperature the samples are another policy's again, and the gradient is that of
    the policy as it would sample.
    """
    subject = Enumeration(OffPolicy, 3, 2, 0, off_policy=True)
    subject.algorithm.policy.rule = Decoding(temperature=0.6)
    table = subject.table.clone().requires_grad_(True)
    worth = (subject.language.log_prob(table / 0.6).exp() * subject.reward).sum()
    torch.testing.assert_close(subject.expected(), torch.autograd.grad(worth, table)[0], **EXACT)
