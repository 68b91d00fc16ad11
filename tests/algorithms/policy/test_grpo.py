"""GRPO's gradient, averaged over everything that could have been sampled: exactly (G−1)/G without
divisions; with them, a known bias.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.policy.cispo import CISPO, clipped_weight
from fledge.algorithms.policy.grpo import DAPO, DR_GRPO, GRPO, clipped_token_ratio
from fledge.algorithms.policy.gspo import GSPO, clipped_sequence_ratio
from fledge.algorithms.policy.reinforce import Reinforce
from fledge.errors import UserError
from fledge.fit import total
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Sampled
from fledge.weigh import overlong_penalty
from tests.algorithms.enumeration import EXACT, Enumeration, cosine, relative_error
from tests.every_algorithm import policy
from tests.subjects import Gradients, learner, rollouts, seeded, speak


@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize(("size", "length"), [(2, 2), (3, 2), (2, 3)])
def test_dr_grpo_is_the_exact_gradient_times_g_minus_1_over_g(
    size: int, length: int, beta: float
) -> None:
    subject = Enumeration(partial(GRPO, settings=DR_GRPO), length=length, beta=beta)
    torch.testing.assert_close(
        subject.expected(size), subject.exact(beta) * (size - 1) / size, **EXACT
    )
    assert subject.algorithm.gradient_claim == "unbiased up to scale (G-1)/G"


def test_dr_grpo_is_reinforce_with_the_groups_mean() -> None:
    actor = policy()
    fit, batch = learner(actor), rollouts(actor)
    gradients = Gradients(fit)
    GRPO(actor, fit, Stopwatch(), settings=DR_GRPO).update(batch)
    Reinforce(actor, fit, Stopwatch(), settings=Reinforce.Settings(baseline="group")).update(batch)
    one, other = (torch.cat([g.flatten() for g in taken]) for taken in gradients.taken)
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_importance_weights_make_the_samples_of_another_policy_the_own_ones() -> None:
    single = partial(Enumeration, length=1, stop=None, off_policy=True)  # rows of one token
    subject = single(partial(GRPO, settings=DR_GRPO.replace(truncate_at=1e9)))
    torch.testing.assert_close(subject.expected(2), subject.exact() / 2, **EXACT)
    capped = single(partial(GRPO, settings=DR_GRPO.replace(truncate_at=1.0)))
    weight = (capped.p / capped.acting).clamp(max=1.0)
    assert float(weight.min()) < 0.9 < 1.0 == float(weight.max())
    # E over two samples of w(a)·(r(a) − r(b))/2·∇log π(a), for both of them
    mean = (capped.acting * capped.reward).sum()
    credit = capped.acting * weight * (capped.reward - mean) / 2
    torch.testing.assert_close(capped.expected(2), capped.pull(credit), **EXACT)
    assert capped.algorithm.gradient_claim.startswith("biased: importance weights")


def normalised(subject: Enumeration, divide_by_std: bool = True) -> Tensor:
    """The advantage of sequence i beside sequence j, written out for groups of two.  [S, S]"""
    gap = (subject.reward[:, None] - subject.reward) / 2  # r_i minus the mean of r_i and r_j
    # the standard deviation of two numbers is |r_i − r_j|/√2
    return gap.sign() / 2**0.5 if divide_by_std else gap


# average, std, and the bias it makes: relative error and cosine of the expected gradient beside the
# exact one.
BIASES = [
    ("row", True, 0.579, 0.877),
    ("row", False, 0.637, 0.964),
    ("token", True, 0.639, 0.900),
    ("sum", True, 0.458, 0.926),
]


@pytest.mark.parametrize(("average", "std", "error", "angle"), BIASES)
def test_each_division_has_its_stated_bias(
    average: Any, std: bool, error: float, angle: float
) -> None:
    """The formula for groups of two: E[½ A_i Σ_t ∇log π(y_t) / |y_i|], with |y_i| + |y_j| below for
    a mean over tokens.
    """
    subject = Enumeration(
        partial(GRPO, settings=GRPO.Settings(average=average, divide_by_std=std)), length=2
    )
    length = subject.chosen.sum(1).double()
    below = {
        "row": 2 * length[:, None].expand(7, 7),
        "token": length[:, None] + length,
        "sum": torch.full((7, 7), 2.0),
    }
    each = subject.p[:, None] * subject.p * normalised(subject, std) / below[average]  # [S, S]
    ascent = subject.expected(2)
    # twice: as the first and as the second
    torch.testing.assert_close(ascent, 2 * subject.pull(each.sum(1)), **EXACT)
    assert (
        relative_error(ascent, subject.exact()),
        cosine(ascent, subject.exact()),
    ) == pytest.approx((error, angle), abs=1e-3)
    divisors = {"row": ["the row's length"], "token": ["the number of tokens"], "sum": []}[average]
    divisors = ["the group's standard deviation"] * std + divisors
    claim = subject.algorithm.gradient_claim
    assert claim == f"biased: {' and '.join(divisors)} divide" + "s" * (len(divisors) == 1)


def test_the_kl_is_not_divided_by_the_groups_spread() -> None:
    """A hundred times the reward makes the same GRPO, β and all."""
    for beta in (0.0, 0.7):
        plain = Enumeration(GRPO, beta=beta)
        scaled = Enumeration(GRPO, beta=beta, reward=lambda reward: 100 * reward)
        torch.testing.assert_close(scaled.expected(2), plain.expected(2), **EXACT)
    # and where all rewards are equal, β·KL alone is left: (G−1)/G of its gradient, over each row's
    # length
    flat = Enumeration(
        partial(GRPO, settings=GRPO.Settings(average="sum")), beta=0.7, reward=torch.zeros_like
    )
    torch.testing.assert_close(flat.expected(2), flat.exact(0.7) / 2, **EXACT)


def test_dapo_drops_groups_without_spread_from_the_denominator() -> None:
    """Half of the groups are all right or all wrong: with and without them the gradient is the
    same.
    """
    actor = policy()
    batch = rollouts(actor)
    ends = torch.arange(1, 13) == batch.last()[:, None]
    right = torch.tensor([1, 1, 0, 0, 1, 0, 0, 1] * 2)
    batch = batch.replace(reward=(ends & (right[:, None] == 1)).double())
    fit = learner(actor)
    gradients = Gradients(fit)
    assert GRPO(actor, fit, Stopwatch(), settings=DAPO).update(batch)["zero_spread_groups"] == 0.5
    whole = gradients.flat
    spread = (torch.arange(16) // 2 % 4 >= 2).nonzero().squeeze(1)
    assert (
        GRPO(actor, fit, Stopwatch(), settings=DAPO).update(batch[spread])["zero_spread_groups"]
        == 0
    )
    torch.testing.assert_close(gradients.flat, whole, rtol=1e-10, atol=1e-12)
    assert whole.abs().max() > 1e-3


def test_a_batch_of_which_nothing_is_left_moves_nothing_and_is_a_step() -> None:
    actor = policy()
    fit = learner(actor)
    gradients = Gradients(fit)
    batch = rollouts(actor)
    algorithm = GRPO(actor, fit, Stopwatch(), settings=DAPO.replace(updates_per_step=4))
    figures = algorithm.update(batch.replace(reward=torch.zeros_like(batch.reward)))
    assert figures["zero_spread_groups"] == 1
    assert len(gradients.taken) == 4
    assert not gradients.flat.any()


def test_answers_near_the_limit_are_punished_in_a_line() -> None:
    length = torch.tensor([1, 6, 7, 8, 9, 10, 12])
    torch.testing.assert_close(
        overlong_penalty(length, 10, 4), torch.tensor([0, 0, -0.25, -0.5, -0.75, -1, -1])
    )
    # two answers of which only the length differs: the shorter one is now the better one
    subject = Enumeration(
        partial(
            GRPO, settings=DAPO.replace(length_buffer=1, drop_equal_groups=False), length_limit=2
        ),
        reward=torch.zeros_like,
    )
    words = [subject.language.sequences.index(word) for word in ((0,), (1, 2))]
    batch = speak(subject.language, words, 3, subject.reward, subject.step_logp)
    weight = subject.algorithm.weigh(batch, torch.zeros_like(batch.reward)).weight
    torch.testing.assert_close(weight[:, 0], torch.tensor([0.5, -0.5]).double() * 2**0.5)


@pytest.mark.parametrize(("limit", "given", "buffer"), [(100, None, 20), (3, None, 1), (100, 7, 7)])
def test_the_buffer_before_the_limit_is_what_was_given_or_a_fifth_and_at_least_one(
    limit: int, given: int | None, buffer: int
) -> None:
    assert DAPO.replace(length_buffer=given).buffer(limit) == buffer


def moved(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities of a policy that has moved, those of the old one, one advantage a row, and
    what was chosen.
    """
    random = seeded(seed)
    chosen = torch.rand(6, 5, generator=random) < 0.7
    chosen[:, 0] = True
    old = -torch.rand(6, 5, generator=random, dtype=torch.float64)
    new = old + 0.5 * torch.randn(6, 5, generator=random, dtype=torch.float64)
    advantage = torch.randn(6, 1, generator=random, dtype=torch.float64).expand(6, 5)
    old, new = (torch.where(chosen, x, 0.0) for x in (old, new))
    return new.requires_grad_(True), old, torch.where(chosen, advantage, 0.0), chosen


@pytest.mark.parametrize("seed", range(5))
def test_gspos_gradient_is_that_of_the_papers_sequence_ratio(seed: int) -> None:
    logp, old, advantage, chosen = moved(seed)
    length = chosen.sum(1).double()
    each, ratio = clipped_sequence_ratio(logp, old, advantage, chosen, 0.1, 0.2)
    (slope,) = torch.autograd.grad(total(each / length[:, None], chosen, 6), logp)
    s = (
        (logp.exp().prod(1) / old.exp().prod(1)) ** (1 / length)
    ).clone()  # eq. 7, of products of probabilities
    a = advantage[:, 0]
    # eq. 5
    (paper,) = torch.autograd.grad(torch.minimum(s * a, s.clamp(0.9, 1.2) * a).mean(), logp)
    torch.testing.assert_close(-slope, torch.where(chosen, paper, 0.0), **EXACT)
    torch.testing.assert_close(ratio[:, 0], s.detach())
    assert ((ratio < 0.9) | (ratio > 1.2)).any()


@pytest.mark.parametrize("seed", range(5))
def test_cispo_clips_the_weight_and_keeps_every_tokens_gradient(seed: int) -> None:
    logp, old, advantage, chosen = moved(seed)
    (slope,) = torch.autograd.grad(
        clipped_weight(logp, old, advantage, chosen, 1.0, 0.2)[0].sum(), logp
    )
    torch.testing.assert_close(-slope, (logp - old).exp().clamp(max=1.2).detach() * advantage)
    (clipped,) = torch.autograd.grad(
        clipped_token_ratio(logp, old, advantage, chosen, 0.2, 0.2)[0].sum(), logp
    )
    assert (clipped == 0)[chosen].any()
    assert (slope != 0)[chosen].all()


def test_at_the_first_step_they_are_grpo_with_the_same_mean() -> None:
    pairs: list[tuple[Any, Any]] = [
        (partial(GRPO, settings=GSPO), "row"),
        (partial(GRPO, settings=CISPO), "token"),
    ]
    for make, average in pairs:
        subject, grpo = (
            Enumeration(make, beta=0.7),
            Enumeration(partial(GRPO, settings=GRPO.Settings(average=average)), beta=0.7),
        )
        torch.testing.assert_close(subject.expected(2), grpo.expected(2), **EXACT)


def test_equal_rewards_in_float32_are_no_advantage() -> None:
    """The mean of eight times 0.7 is not quite 0.7, and the spread not quite 0: their ratio must
    not become an advantage.
    """
    for worth in (0.7, 0.1, 1 / 3, 123.456):
        batch = rollouts(policy())[:7]
        ends = torch.arange(1, 13) == batch.last()[:, None]
        batch = batch.replace(
            reward=torch.where(ends, worth, 0.0).float(), group=torch.zeros(7, dtype=torch.long)
        )
        actor = policy()
        made = GRPO(actor, learner(actor), Stopwatch())
        weight = made.weigh(Sampled.of(batch), torch.zeros(7, 12)).weight
        assert weight.abs().max() < 1e-6 * worth


def test_samples_of_another_policy_are_refused() -> None:
    actor = policy()
    fit, batch = learner(actor), rollouts(actor)
    assert batch.logp is not None
    with pytest.raises(UserError, match="disagree"):
        GRPO(actor, fit, Stopwatch()).update(batch.replace(logp=batch.logp + 0.5))
    assert fit.steps == 0
