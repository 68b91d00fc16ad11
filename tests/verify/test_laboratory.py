"""The laboratory is held to estimators whose bias and noise are known beforehand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.exact.enumerable import Language
from fledge.exact.problem import Problem, random_problem
from fledge.fit import nll, total
from fledge.trajectories import Trajectories
from fledge.verify.laboratory import Bench, Hardware, expected_gradient, measure

LANGUAGE = Language(3, 2, stop=0)
COIN = Language(2, 1)


class Plain:
    """REINFORCE written out: r·∇log π, times `factor`; importance-weighted where `weighted`; in
    `steps` equal steps.
    """

    factor, weighted, steps = 1.0, False, 1

    def __init__(self, policy: Any, learner: Any, stopwatch: Any) -> None:
        self.policy, self.learner = policy, learner

    def update(self, batch: Trajectories) -> None:
        def loss(rows: Trajectories) -> tuple[Tensor, dict[str, Tensor]]:
            logp = self.policy.log_prob(rows.obs, rows.action, rows.chosen)
            worth = torch.where(rows.chosen, rows.reward, 0.0).sum(1, keepdim=True)
            if self.weighted:
                assert rows.logp is not None
                worth = worth * (logp.detach() - rows.logp).sum(1, keepdim=True).exp()
            return total(nll(logp, self.factor * worth), rows.chosen, len(batch)), {}

        for _ in range(self.steps):
            self.learner.step(loss, batch)


def plain(**changes: Any) -> type[Plain]:
    return type("Changed", (Plain,), changes)


@pytest.mark.parametrize("factor", [1.0, 0.5, 3.0, -1.0])
@pytest.mark.parametrize("samples", [1, 2])
def test_a_known_scale_is_found(factor: float, samples: int) -> None:
    measured = measure(plain(factor=factor), random_problem(LANGUAGE, 1), samples)
    assert measured.scale == pytest.approx(factor, abs=1e-12)
    assert measured.relative_error == pytest.approx(abs(factor - 1), abs=1e-12)
    assert measured.error_after(factor) < 1e-12
    assert measured.cosine == pytest.approx(math.copysign(1, factor), abs=1e-12)
    # the scale is taken out of the noise
    assert measured.relative_variance == pytest.approx(1, abs=1e-9)
    assert measured.radius is None


def test_an_estimator_of_nothing() -> None:
    measured = measure(plain(factor=0.0), random_problem(LANGUAGE, 1), 1)
    assert measured.relative_error == pytest.approx(1)
    assert measured.scale == measured.cosine == 0
    assert measured.error_after(0.0) == measured.relative_variance == math.inf


def test_a_coin_by_hand() -> None:
    """π = (¾, ¼), rewards (1, 5): one sample says ±(¼, −¼)·1 or (−¾, ¾)·5."""
    problem = Problem(
        COIN, torch.tensor([[3.0, 1.0]]).double().log(), torch.tensor([1.0, 5.0]).double()
    )
    measured = measure(Plain, problem, 1)
    mean = torch.tensor([[0.75 * 0.25 - 0.25 * 3.75, -0.75 * 0.25 + 0.25 * 3.75]]).double()
    torch.testing.assert_close(measured.true, mean)
    torch.testing.assert_close(measured.expected, mean)
    second = 0.75 * 2 * 0.25**2 + 0.25 * 2 * 3.75**2
    assert measured.variance == pytest.approx(second - 2 * 0.75**2)
    assert measured.reinforce_variance == pytest.approx(measured.variance)
    assert measure(Plain, problem, 3).variance == pytest.approx(measured.variance / 3)
    assert measured.effective == pytest.approx(1)


def test_samples_of_another_policy_need_their_weights() -> None:
    problem = random_problem(LANGUAGE, 2, off_policy=True)
    assert measure(plain(weighted=True), problem, 1).relative_error < 1e-12
    assert measure(Plain, problem, 1).relative_error > 0.05


def test_the_effective_sample_size_by_hand() -> None:
    """π = (½, ½) sampled as (¾, ¼): weights ⅔ and 2, 1/(¾·4/9 + ¼·4) = ¾."""
    log = lambda *p: torch.tensor([p]).double().log()  # noqa: E731
    problem = Problem(COIN, log(0.5, 0.5), torch.ones(2).double(), behaviour=log(0.75, 0.25))
    assert problem.effective_share() == pytest.approx(0.75)


def test_with_beta_plain_reinforce_pays_for_its_kl() -> None:
    """The noise it is compared to is that of r − β·log π/π_ref: summed here over the listed
    sequences.
    """
    problem = random_problem(LANGUAGE, 3, beta=0.6)
    assert problem.reference is not None
    logp, other = LANGUAGE.log_prob(problem.logits), LANGUAGE.log_prob(problem.reference)
    mean, second = torch.zeros_like(problem.logits), 0.0
    for word in range(len(logp)):
        table = problem.logits.clone().requires_grad_(True)
        [score] = torch.autograd.grad(LANGUAGE.log_prob(table)[word], table)
        x = score * (problem.reward[word] - 0.6 * (logp[word] - other[word]))
        mean, second = (
            mean + logp[word].exp() * x,
            second + float(logp[word].exp() * x.square().sum()),
        )
    torch.testing.assert_close(problem.gradient(), mean)
    assert problem.reinforce_variance() == pytest.approx(second - float(mean.square().sum()))


def test_of_several_steps_the_mean_is_taken_and_nothing_moves() -> None:
    problem = random_problem(LANGUAGE, 1)
    bench = Bench(problem, plain(steps=3))
    before = bench.policy.network.table.detach().clone()
    torch.testing.assert_close(bench.ascent([1, 2]), Bench(problem, Plain).ascent([1, 2]))
    assert len(bench.recorder.taken) == 3
    assert torch.equal(bench.policy.network.table, before)


def test_where_there_are_too_many_groups_they_are_drawn() -> None:
    """The bounds on the sampling error hold for the unbiased estimator and not for one that is 30%
    too long.
    """
    problem = random_problem(LANGUAGE, 4)
    for seed in range(3):
        fair = measure(Plain, problem, 5, updates=400, seed=seed)
        noise = fair.noise()
        assert noise is not None
        assert noise[0] < noise[1]
        assert fair.relative_error <= noise[1]
        assert fair.variance == pytest.approx(fair.reinforce_variance, rel=0.3)
        long = measure(plain(factor=1.3), problem, 5, updates=400, seed=seed)
        limit = long.noise()
        assert limit is not None
        assert long.relative_error > limit[1]
    again = measure(Plain, problem, 5, updates=400, seed=2)
    told = fair.expected  # pyright: ignore[reportPossiblyUnboundVariable]
    assert torch.equal(again.expected, told)


def test_the_sampling_error_is_as_often_inside_its_bound_as_the_bound_says() -> None:
    problem = Problem(COIN, torch.zeros(1, 2).double(), torch.tensor([1.0, 3.0]).double())
    inside = 0
    for seed in range(40):
        measured = measure(Plain, problem, 12, updates=60, seed=seed)
        noise = measured.noise()
        assert noise is not None
        inside += measured.relative_error <= noise[0]
    assert 33 <= inside <= 40  # 38 expected


def test_in_float32_the_error_is_that_of_float32() -> None:
    problem = random_problem(LANGUAGE, 1)
    single = Hardware("cpu", torch.float32)
    error = (
        expected_gradient(Plain, problem, 1, single) - problem.gradient()
    ).norm() / problem.gradient().norm()
    assert 1e-10 < float(error) < single.tolerance


def test_an_algorithm_that_takes_no_step_is_told_so() -> None:
    with pytest.raises(ValueError, match="no optimizer step"):
        measure(plain(steps=0), random_problem(LANGUAGE, 1), 1)
