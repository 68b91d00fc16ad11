"""EM on a language that is written down: the E-step is the posterior, the M-step's optimum is
known, and log p(o=1) never falls.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.likelihood.expectation_maximisation import (
    BEST_OF_N,
    REST_EM,
    ExpectationMaximisation,
)
from fledge.errors import UserError
from fledge.exact.enumerable import Language, kl
from fledge.learner import Learner, Schedule
from fledge.optimizers import adamw
from fledge.policy import TokenPolicy
from fledge.sample.generate import generate
from fledge.sample.rollouts import build_trajectories
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from tests.algorithms.enumeration import EXACT, Enumeration, cosine, relative_error
from tests.every_algorithm import policy
from tests.subjects import Gradients, TableNetwork, learner, rollouts, seeded, speak

LANGUAGE = Language(3, 3, stop=0)
S = len(LANGUAGE.sequences)
SUCCESS = torch.rand(S, dtype=torch.float64, generator=seeded(3))  # p(o=1|y)


def log_prob(policy: TokenPolicy) -> Tensor:
    """Of every sequence.  [S]"""
    return LANGUAGE.log_prob(policy.network.logits(LANGUAGE))


def log_success(policy: TokenPolicy) -> Tensor:
    """log p(o=1) = log Σ_y π(y)·p(o=1|y), by enumeration."""
    return (log_prob(policy).exp() * SUCCESS).sum().log()


def all_there_is(policy: TokenPolicy, success: Tensor = SUCCESS) -> Trajectories:
    """Every sequence once, its reward S·π(y)·p(o=1|y): as if samples came exactly as often as they
    are likely.
    """
    with torch.no_grad():
        reward = S * log_prob(policy).exp() * success
        steps = LANGUAGE.step_log_prob(policy.network.logits(LANGUAGE))
    return speak(LANGUAGE, range(S), 3, reward, steps)


def exact_em_step(policy: TokenPolicy) -> Tensor:
    """log of the M-step's optimum on a table, which can be any distribution: the posterior itself.
    [S]
    """
    with torch.no_grad():
        return (log_prob(policy) + SUCCESS.log()).log_softmax(0)


def table(rate: float, updates: int) -> tuple[TokenPolicy, Learner]:
    policy = TokenPolicy(TableNetwork(3, 3, seed=1))
    return policy, Learner(
        policy,
        Schedule(rate, updates, shape="cosine", final=0.01),
        optimizer=adamw(weight_decay=0.0),
        clip=0.0,
    )


def test_the_gradient_is_that_of_log_p() -> None:
    """At the first step of the M-step, ∇ E_q[log π] = ∇ log p(o=1) (Fisher's identity)."""
    policy, fit = table(0.1, 1)
    gradients = Gradients(fit)
    figures = ExpectationMaximisation(
        policy, fit, Stopwatch(), settings=ExpectationMaximisation.Settings(keep="posterior")
    ).update(all_there_is(policy))
    (exact,) = torch.autograd.grad(log_success(policy), fit.parameters)
    torch.testing.assert_close(-gradients.flat, exact.flatten(), **EXACT)
    assert figures["log_success"] == pytest.approx(log_success(policy).item(), rel=1e-12)
    # the bound touches where q is the posterior
    assert figures["bound"] == pytest.approx(figures["log_success"])


def test_the_m_step_arrives_at_the_posterior() -> None:
    policy, fit = table(0.1, 400)
    best = exact_em_step(policy)
    algorithm = ExpectationMaximisation(
        policy,
        fit,
        Stopwatch(),
        settings=ExpectationMaximisation.Settings(
            keep="posterior", updates_per_step=400, epochs=400
        ),
    )
    far = kl(best, log_prob(policy)).item()
    algorithm.update(all_there_is(policy))
    assert far > 0.1
    assert kl(best, log_prob(policy)).item() < 1e-4


@pytest.mark.parametrize("updates", [1, 3, 60])
def test_log_p_never_falls_and_never_lies_under_the_bound(updates: int) -> None:
    """However far an M-step goes: log p(o=1) ≥ bound ≥ log p(o=1) before."""
    policy, fit = table(0.05, 1000)
    algorithm = ExpectationMaximisation(
        policy,
        fit,
        Stopwatch(),
        settings=ExpectationMaximisation.Settings(
            keep="posterior", updates_per_step=updates, epochs=updates
        ),
    )
    first = before = log_success(policy).item()
    for _ in range(12):
        figures = algorithm.update(all_there_is(policy))
        after = log_success(policy).item()
        assert figures["log_success"] == pytest.approx(before, rel=1e-9)
        assert after >= figures["bound"] - 1e-12
        assert figures["bound"] >= before - 1e-12
        before = after
    assert before > first + 0.02 * updates**0.5


def test_with_samples_it_comes_near_the_exact_step() -> None:
    """ReST-EM on 4,000 real samples with right or wrong as their reward: the posterior within 0.02
    nats.
    """
    policy, fit = table(0.1, 200)
    right = (SUCCESS > 0.6).double()
    posterior = (log_prob(policy) + right.log()).log_softmax(0).detach()
    number = {word: i for i, word in enumerate(LANGUAGE.sequences)}
    completions = generate(
        policy, [[3]], max_new_tokens=3, stop=0, samples=4000, generator=seeded(7)
    )
    reward = [float(right[number[tuple(completion.tokens)]]) for completion in completions]
    batch = build_trajectories(completions, reward, [0] * 4000)
    figures = ExpectationMaximisation(
        policy, fit, Stopwatch(), settings=REST_EM.replace(updates_per_step=200, epochs=200)
    ).update(batch)
    inside = right > 0
    assert (posterior.exp() * (posterior - log_prob(policy)))[inside].sum().item() < 0.02
    assert figures["kept"] == pytest.approx(sum(reward) / 4000)


def test_in_pairs_right_answers_pull_as_hard_as_they_are_rare() -> None:
    """The exact gradient of E[r] for one prompt, (1 − (1−p)²)/p times: not the reward's own where
    prompts differ in p.
    """
    subject = Enumeration(
        partial(ExpectationMaximisation, settings=ExpectationMaximisation.Settings(threshold=0.5)),
        reward=lambda reward: (reward > 0).double(),
    )
    p = float((subject.p * subject.reward).sum())
    ascent = subject.expected(2)
    torch.testing.assert_close(ascent, subject.exact() * (1 - (1 - p) ** 2) / p, **EXACT)
    assert relative_error(ascent, subject.exact()) == pytest.approx(0.168, abs=1e-3)


def test_in_pairs_the_posteriors_expected_gradient_is_the_stated_one() -> None:
    """E[Σ_i w_i ∇log π(y_i)], w each answer's share of the pair's success; its bias against the
    gradient of E[r].
    """
    subject = Enumeration(
        partial(
            ExpectationMaximisation, settings=ExpectationMaximisation.Settings(keep="posterior")
        ),
        reward=torch.sigmoid,
    )
    share = subject.reward[:, None] / (subject.reward[:, None] + subject.reward)
    ascent = subject.expected(2)
    torch.testing.assert_close(
        ascent, 2 * subject.pull((subject.p[:, None] * subject.p * share).sum(1)), **EXACT
    )
    assert (
        relative_error(ascent, subject.exact()),
        cosine(ascent, subject.exact()),
    ) == pytest.approx((0.248, 0.975), abs=1e-3)


EM = ExpectationMaximisation.Settings()


def right_or_wrong() -> Trajectories:
    """Eight groups of two with 0, 1 or 2 right answers."""
    batch = rollouts(policy())
    ends = torch.arange(1, 13) == batch.last()[:, None]
    right = torch.tensor([1, 1, 0, 0, 1, 0, 0, 1] * 2)
    return batch.replace(reward=(ends & (right[:, None] == 1)).double())


def gradient(
    batch: Trajectories,
    usual: ExpectationMaximisation.Settings = EM,
    **settings: Any,
) -> tuple[dict[str, float], Tensor]:
    """The figures of one update, and its gradient."""
    actor = policy()
    fit = learner(actor)
    gradients = Gradients(fit)
    given = usual.replace(**settings)
    figures = ExpectationMaximisation(actor, fit, Stopwatch(), given).update(batch)
    return figures, gradients.flat


def test_with_right_or_wrong_as_reward_all_ways_to_keep_are_one() -> None:
    batch = right_or_wrong()
    figures, hard = gradient(batch)
    for keep in ("posterior", "best"):
        other, soft = gradient(batch, keep=keep)
        torch.testing.assert_close(soft, hard, rtol=1e-10, atol=1e-12)
        assert other == pytest.approx(figures)
    assert figures["kept"] == 0.5
    assert figures["unsolved_groups"] == 0.25
    assert figures["log_success"] == pytest.approx(2 / 3 * torch.tensor(0.5).log().item())


def test_prompts_without_a_right_answer_do_not_count() -> None:
    batch = right_or_wrong()
    solved = (torch.arange(16) // 2 % 4 != 1).nonzero().squeeze(1)
    torch.testing.assert_close(
        gradient(batch[solved])[1], gradient(batch)[1], rtol=1e-10, atol=1e-12
    )


def test_where_nothing_is_right_nothing_moves() -> None:
    batch = right_or_wrong()
    figures, none = gradient(
        batch.replace(reward=torch.zeros_like(batch.reward)), updates_per_step=2
    )
    assert not none.any()
    assert (figures["kept"], figures["unsolved_groups"], figures["steps_skipped"]) == (0, 1, 2)
    assert "bound" not in figures  # 0 would say that everything succeeded
    assert "log_success" not in figures


def test_a_batch_without_a_right_answer_does_not_send_the_policy_back_to_its_base() -> None:
    actor = policy()
    algorithm = ExpectationMaximisation(
        actor,
        learner(actor, optimizer=adamw(weight_decay=0.1)),
        Stopwatch(),
        settings=REST_EM.replace(threshold=0.1),
    )
    algorithm.update(right_or_wrong())
    batch = rollouts(actor)
    learned = [p.detach().clone() for p in actor.parameters()]
    algorithm.update(batch.replace(reward=torch.zeros_like(batch.reward)))
    assert all(torch.equal(a, b) for a, b in zip(learned, actor.parameters(), strict=True))


def test_best_of_n_keeps_the_best_of_each_group_whatever_it_is_worth() -> None:
    batch = rollouts(policy())
    worth = torch.where(batch.chosen, batch.reward, 0.0).sum(1)
    best = torch.stack([row + worth[row : row + 2].argmax() for row in range(0, 16, 2)])
    figures, slope = gradient(batch, BEST_OF_N)
    assert figures["kept"] == 0.5
    actor = policy()
    kept = batch[best]
    logp = actor.log_prob(kept.obs, kept.action, kept.chosen).sum(1).mean()
    plain = torch.autograd.grad(-logp, [p for p in actor.parameters() if p.requires_grad])
    torch.testing.assert_close(
        slope, torch.cat([g.flatten() for g in plain]), rtol=1e-10, atol=1e-12
    )


def test_a_negative_reward_is_no_probability() -> None:
    with pytest.raises(UserError, match="no probability"):
        gradient(rollouts(policy()), keep="posterior")


def test_restart_from_base_forgets_the_updates_before() -> None:
    """The second M-step ends where it would have ended as the first one."""
    ends = []
    for batches in ((3, 4), (4,)):
        actor = policy()
        fit = learner(actor, rate=1e-2)
        algorithm = ExpectationMaximisation(
            actor, fit, Stopwatch(), settings=REST_EM.replace(threshold=0.0, updates_per_step=2)
        )
        for seed in batches:
            algorithm.minibatches.generator.manual_seed(seed)
            algorithm.update(rollouts(policy(), seed=seed).replace(logp=None))
        ends.append(torch.cat([p.detach().flatten() for p in fit.parameters]))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)
