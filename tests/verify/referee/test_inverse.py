"""A learner of rewards before the referee: counts are the likelihood's slope, and a step that plans
or counts otherwise is named.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fledge.verify.referee import inverse
from fledge.verify.referee.world_question import Rollout, WorldHearing
from fledge.verify.referee.world_ruling import WorldRuling, rule_world


class StubLearner:
    """Counts by stepping the law of the state forward; values by looking back."""

    name, version = "stub:irl", "1"

    def __init__(self, problem: inverse.InverseProblem, fault: str) -> None:
        self.problem, self.fault = problem, fault

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        world, gamma = self.problem.world, self.problem.gamma
        used = 1.0 if self.fault == "no discount" else gamma
        q = [self.problem.reward[:, None].expand(inverse.STATES, 2)]
        for _ in range(world.horizon - 1):
            ahead = torch.stack([each @ q[0].logsumexp(1) for each in world.transition], 1)
            q.insert(0, self.problem.reward[:, None] + used * ahead)
        law, total = world.start, torch.zeros(inverse.STATES, dtype=torch.float64)
        states = [*rollout.state, rollout.following[-1]]
        for t in range(world.horizon + (self.fault == "last state")):
            total[states[t]] += gamma**t
            total -= gamma**t * law
            if t < world.horizon:
                done = q[t].softmax(1)
                law = sum(((law * done[:, a]) @ world.transition[a] for a in (0, 1)), 0 * law)
        return total


def hear(fault: str, gamma: float) -> WorldRuling:
    problem = inverse.inverse_problem(gamma)
    claimed = inverse.name_inverse()
    return rule_world(
        WorldHearing(
            "stub:irl", {}, "", claimed, "inverse", problem, lambda p: StubLearner(p, fault)
        )
    )


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_counts_of_a_right_learner_are_the_slope_of_the_likelihood(gamma: float) -> None:
    ruling = hear("", gamma)
    assert ruling.faults == ()
    assert (ruling.cosine, ruling.scale) == pytest.approx((1, 1))
    assert ruling.bias == pytest.approx(0, abs=1e-10)
    assert (ruling.second.by, ruling.variance) == ("sampling", None)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("last state", f"computes “{inverse.BEYOND}”"),
        ("no discount", f"computes “{inverse.PLANS_ON}”"),
    ],
)
def test_what_is_planned_or_counted_otherwise_is_named(fault: str, words: str) -> None:
    ruling = hear(fault, 0.9)
    assert len(ruling.faults) == 1
    assert ruling.faults[0].startswith(words)
    assert ruling.bias is not None
    assert ruling.bias > 1e-3


def test_demonstrations_are_a_law() -> None:
    problem = inverse.inverse_problem(0.9)
    assert sum(mass for _, mass in inverse.list_demonstrations(problem)) == pytest.approx(1)
