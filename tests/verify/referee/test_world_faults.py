"""A trainer of agents with one known fault each: the referee names it, and says nothing of a right
one.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from fledge.verify.referee.world_equations import (
    BOOTSTRAPS,
    PLAIN,
    WHITE,
    insert_resets,
    name_actor,
)
from fledge.verify.referee.world_question import (
    HORIZON,
    Rollout,
    WorldHearing,
    WorldProblem,
    draw_rollouts,
    enumerate_episodes,
    world_problem,
)
from fledge.verify.referee.world_row import name_both
from fledge.verify.referee.world_ruling import WorldRuling, rule_world
from tests.verify.referee.world_stub import StubActor, StubValues

CRITIC = "½(V − R)²"


def hear_actor(
    fault: str, normalise: bool = False, gamma: float = 0.9, trace: float = 0.8
) -> WorldRuling:
    claimed = name_both(name_actor(WHITE if normalise else PLAIN), CRITIC)
    problem = world_problem("actor", gamma, trace)
    build = partial(StubActor, fault=fault, normalise=normalise)
    return rule_world(
        WorldHearing(
            "stub:actor", {}, "what it says", claimed, "actor", problem, build, minibatches=True
        )
    )


def hear_values(fault: str) -> WorldRuling:
    claimed = f"Huber's loss, y = r + γ·max Q′; {BOOTSTRAPS}"
    build = partial(StubValues, fault=fault)
    problem = world_problem("values", 0.9)
    return rule_world(
        WorldHearing("stub:values", {}, "what it says", claimed, "values", problem, build)
    )


def test_a_right_actor_has_no_fault() -> None:
    ruling = hear_actor("")
    assert ruling.faults == ()
    assert ruling.pieces is not None
    assert ruling.pieces < 1e-12
    assert ruling.second.apart < 1e-6


def test_without_discount_and_trace_the_gradient_is_exact_up_to_the_mean_over_steps() -> None:
    ruling = hear_actor("", gamma=1.0, trace=1.0)
    assert ruling.bias == pytest.approx(0, abs=1e-10)
    assert ruling.scale == pytest.approx(1 / HORIZON)


def test_a_discount_that_starts_anew_at_every_step_is_a_bias() -> None:
    ruling = hear_actor("", gamma=0.6, trace=1.0)
    assert ruling.bias is not None
    assert ruling.bias > 0.01


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("truncation is termination", "computes “a truncated step is taken for terminated”"),
        ("runs on", "computes “a truncated step runs on into the next episode”"),
        ("termination bootstraps", "none of the equations fits"),
        ("no trace", "none of the equations fits"),
        ("critic twice", f"computes “2 × {CRITIC}”, claims “{CRITIC}”"),
        ("entropy", "none of the equations fits"),
        ("another gradient", "the gradient is not that of the loss it returns"),
    ],
)
def test_the_fault_of_an_actor_is_named(fault: str, words: str) -> None:
    assert any(words in said for said in hear_actor(fault).faults), hear_actor(fault).faults


def test_advantages_normalised_in_each_minibatch_are_named() -> None:
    (said,) = hear_actor("", normalise=True).faults
    assert said.startswith("two minibatches change the gradient by up to ")
    assert hear_actor("whole rollout", normalise=True).faults == ()


def test_a_right_learner_of_values_has_no_fault() -> None:
    assert hear_values("").faults == ()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("truncation is termination", "computes “a truncated step is taken for terminated”"),
        ("no target network", "computes “Huber's loss, y = r + γ·max Q”"),
        ("squared", "computes “½(Q − y)², y = r + γ·max Q′”"),
    ],
)
def test_the_fault_of_a_learner_of_values_is_named(fault: str, words: str) -> None:
    assert any(words in said for said in hear_values(fault).faults), hear_values(fault).faults


def test_episodes_are_a_law_and_rollouts_have_every_kind_of_end() -> None:
    problem = world_problem("actor", 0.9)
    assert sum(mass for _, mass in enumerate_episodes(problem)) == pytest.approx(1)
    for rollout in draw_rollouts(problem):
        assert sum(rollout.terminated) == 1
        assert sum(rollout.truncated) == 2
        assert not rollout.terminated[-1]
        assert not rollout.truncated[-1]
        for t in range(len(rollout) - 1):
            over = rollout.terminated[t] or rollout.truncated[t]
            assert over or rollout.following[t] == rollout.state[t + 1]


class Reinforce:
    """Σ_t ∇log π(a_t|s_t) times the episode's return; its critic learns nothing."""

    name, version = "stub:reinforce", "1"

    def __init__(self, problem: WorldProblem) -> None:
        self.problem = problem

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        table = self.problem.logits.clone().requires_grad_(True)
        logp = table.log_softmax(1)[list(rollout.state), list(rollout.action)].sum()
        back = sum(self.problem.gamma**t * r for t, r in enumerate(rollout.reward))
        (slope,) = torch.autograd.grad(back * logp, table)
        return torch.cat([slope.flatten(), torch.zeros_like(self.problem.critic)])


def test_reinforce_is_exact_and_as_noisy_as_itself() -> None:
    problem = world_problem("actor", 0.9)
    ruling = rule_world(WorldHearing("stub:reinforce", {}, "", "", "actor", problem, Reinforce))
    assert (ruling.scale, ruling.cosine, ruling.variance) == pytest.approx((1, 1, 1))
    assert ruling.second.by == "sampling"
    assert ruling.second.agrees


class Idle(Reinforce):
    """Adds nothing, whatever it is shown."""

    def answer(self, rollout: Rollout, pieces: int = 1) -> Tensor:
        return 0 * super().answer(rollout)


def test_who_adds_nothing_is_a_row() -> None:
    """Its variance, scaled to go as far as the gradient, is no number."""
    problem = world_problem("actor", 0.9)
    ruling = rule_world(WorldHearing("stub:idle", {}, "", "", "actor", problem, Idle))
    assert (ruling.scale, ruling.as_json()["variance"]) == (0, None)


def test_a_step_that_only_resets_stands_between_two_episodes() -> None:
    """From where an episode ended to where the next begins; what is worth nothing is learned."""
    ends = (False, True, False)
    rollout = Rollout((0, 1, 1), (1, 1, 0), (0.5, 2.0, 1.0), (1, 0, 1), ends, (False,) * 3)
    longer = insert_resets(rollout)
    assert longer.state == (0, 1, 0, 1)
    assert longer.following == (1, 0, 1, 1)
    assert longer.reward == (0.5, 2.0, 0.0, 1.0)
    assert longer.terminated == (False, True, False, False)
