"""The formulas of biased estimators, where a biased one is none: with its bias taken away each is
the true gradient.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fledge.exact.enumerable import Language
from fledge.exact.problem import random_problem
from fledge.verify import biases
from fledge.verify.biases import Credit, SampledSequence

STOPPING, FIXED = Language(3, 2, stop=0), Language(2, 3)


def test_ppo_without_clip_spread_or_wrong_critic_is_the_gradient_over_the_length() -> None:
    problem = random_problem(FIXED, seed=3, beta=0.4)
    ascent = biases.expected(problem, 2, partial(biases.ppo, beta=0.4))
    torch.testing.assert_close(3 * ascent, problem.gradient(), rtol=1e-10, atol=1e-12)


def test_weights_without_an_end_make_up_for_another_sampler() -> None:
    problem = random_problem(STOPPING, seed=3, beta=0.4, off_policy=True)
    ascent = biases.expected(problem, 2, partial(biases.off_policy, truncate_at=1e9, beta=0.4))
    torch.testing.assert_close(ascent, problem.gradient(), rtol=1e-10, atol=1e-12)


def test_an_undiscounted_return_is_reinforce() -> None:
    problem = random_problem(STOPPING, seed=3)
    ascent = biases.expected(problem, 1, partial(biases.discounted, gamma=1.0))
    torch.testing.assert_close(ascent, problem.gradient(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("advantage", "ratio", "slope"),
    [(2, 1.1, 2.2), (2, 1.3, 0), (2, 0.5, 1.0), (-2, 0.7, 0), (-2, 1.5, -3)],
)
def test_the_clipped_ones_slope_is_zero_only_where_going_on_would_pay(
    advantage: float, ratio: float, slope: float
) -> None:
    assert biases.clipped(advantage, ratio, 0.2, 0.2) == pytest.approx(slope)


@pytest.mark.parametrize(
    "credit",
    [
        biases.grpo, biases.dapo, biases.gspo, biases.cispo, biases.online_dpo,
        biases.spread_over_steps(biases.weigh_best_answers),
        biases.spread_over_steps(biases.reward_weighted),
        biases.spread_over_steps(biases.advantage_weighted),
    ],
)  # fmt: skip
def test_the_order_of_a_group_does_not_matter(credit: Credit) -> None:
    group = [SampledSequence(r, [0.1 * r, -0.2], [1.0, 1.0], [0.0, 0.0]) for r in (1.0, 3.0, 2.0)]
    straight, back = credit(group), credit(group[::-1])[::-1]
    for one, other in zip(straight, back, strict=True):
        assert one == pytest.approx(other)
