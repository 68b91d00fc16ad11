"""A step of TRPO keeps its promise on the KL, a line search that fails leaves no trace, two
processes agree, and CartPole is learnt.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fledge.algorithms.parts.fisher_vector_product import FisherVectorProduct, policy_parameters
from fledge.algorithms.policy.natural_gradient import NaturalGradient
from fledge.algorithms.policy.trpo import TRPO, TrustRegion
from fledge.learner import Learner, Schedule
from fledge.models.control.actor_critic import ActorCritic
from fledge.optimizers import adamw
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Weighed
from fledge.worlds.make import make_world
from tests.algorithms.heads import HEADS, actor_critic, algorithm, flat, kl, said, samples
from tests.subjects import learner, seeded


class Hopeful(FisherVectorProduct):
    """Thinks the KL a hundredth of what it is."""

    def product(self, vector: Tensor, damping: float) -> Tensor:
        return 0.01 * super().product(vector, damping)


def surroundings(name: str) -> tuple[ActorCritic, Weighed, FisherVectorProduct, Tensor]:
    both = actor_critic(name)
    batch = samples(both)
    return (
        both,
        batch,
        FisherVectorProduct(both, batch, learner(both.critic)),
        flat(policy_parameters(both)),
    )


@pytest.mark.parametrize("limit", [1e-4, 0.01, 0.3])
@HEADS
def test_the_step_stays_within_the_limit_and_gains(name: str, limit: float) -> None:
    """KL by torch's own distributions, before and after; the gain as the figures and the gradient
    tell it.
    """
    both, batch, near, here = surroundings(name)
    numbers = said(both, batch, here)
    gradient = near.gradient()
    direction = torch.linalg.solve(
        torch.stack([near.product(e, 0.1) for e in torch.eye(len(here)).double()]), gradient
    )
    figures = TrustRegion(limit)(near, direction, 0.1)
    there = flat(policy_parameters(both))
    measured = float(kl(name, numbers, said(both, batch, there)))
    assert figures["policy_kl"] == pytest.approx(measured, rel=1e-9)
    assert 0.2 * limit < measured <= limit
    assert figures["policy_gain"] > 0
    # As long as the quadratic model wants it, or a power of `shrink` of that; and for a short step
    # gain is gradient times step.
    step = there - here
    whole = direction * (2 * limit / (direction @ gradient)).sqrt()
    torch.testing.assert_close(step, figures["step_share"] * whole, rtol=1e-6, atol=1e-9)
    if limit == 1e-4:
        assert figures["step_share"] == 1
        assert figures["policy_gain"] == pytest.approx(float(gradient @ step), rel=0.1)


@HEADS
def test_a_step_too_long_at_first_is_shortened_until_it_fits(name: str) -> None:
    both = actor_critic(name)
    batch = samples(both)
    here = flat(policy_parameters(both))
    near = Hopeful(both, batch, learner(both.critic))
    figures = TrustRegion(kl_limit=0.05, attempts=30, shrink=0.7)(near, near.gradient(), 0.1)
    assert 0 < figures["step_share"] < 0.5
    measured = float(
        kl(name, said(both, batch, here), said(both, batch, flat(policy_parameters(both))))
    )
    assert measured <= 0.05
    # the attempt before was refused with a reason
    longer = here + (flat(policy_parameters(both)) - here) / 0.7
    assert float(kl(name, said(both, batch, here), said(both, batch, longer))) > 0.05


@pytest.mark.parametrize("why", ["no gain", "too far", "no number", "nothing to gain"])
@HEADS
def test_a_search_that_fails_leaves_the_policy_bit_for_bit_as_it_was(name: str, why: str) -> None:
    both = actor_critic(name)
    with torch.no_grad():  # numbers that adding and taking away again would not bring back
        for parameter in policy_parameters(both):
            parameter.view(-1)[0] = 1e-17
    near = (Hopeful if why == "too far" else FisherVectorProduct)(
        both, samples(both), learner(both.critic)
    )
    here, gradient = flat(policy_parameters(both)), near.gradient()
    direction, region = {
        "no gain": (-gradient, TrustRegion()),
        "too far": (gradient, TrustRegion(kl_limit=0.05, attempts=2, shrink=0.9)),
        "no number": (gradient, TrustRegion(kl_limit=float("inf"))),
        "nothing to gain": (torch.zeros_like(gradient), TrustRegion()),
    }[why]
    moves = 0
    move = near.move

    def counted(step: Tensor) -> None:
        nonlocal moves
        moves += 1
        move(step)
        assert not torch.equal(flat(policy_parameters(both)), here)

    near.move = counted  # pyright: ignore[reportAttributeAccessIssue]
    figures = region(near, direction, 0.1)
    assert moves == {"no gain": 10, "too far": 2, "no number": 10, "nothing to gain": 0}[why]
    assert torch.equal(flat(policy_parameters(both)), here)
    assert figures == {"policy_gain": 0.0, "policy_kl": 0.0, "step_share": 0.0}


def test_an_update_with_nothing_to_gain_moves_the_critic_alone() -> None:
    both = actor_critic("Gaussian")
    made, batch = algorithm(both, whiten_advantage=False, gamma=0.0), samples(both)
    with torch.no_grad():
        for parameter in both.critic[-1].parameters():
            parameter.zero_()
    policy, critic = flat(policy_parameters(both)), flat(both.critic.parameters())
    figures = made.update(batch.replace(reward=torch.zeros_like(batch.reward)))
    assert figures["step_share"] == figures["policy_grad_norm"] == 0
    assert torch.equal(flat(policy_parameters(both)), policy)
    made.update(samples(both))
    assert not torch.equal(flat(both.critic.parameters()), critic)


def test_cartpole_is_learnt() -> None:
    """Mean return of the last 100 episodes ≥ 195, which is what CartPole-v0 called solved; 25,000
    steps suffice, 60,000 are allowed.
    """
    world = make_world("CartPole-v1", 16)
    both = ActorCritic(world.observation, world.action, generator=seeded(0))
    fit = Learner(
        both.critic,
        Schedule(5e-3, 1000, shape="constant"),
        optimizer=adamw(betas=(0.9, 0.999), weight_decay=0.0),
        clip=0.5,
    )
    settings = TRPO.replace(
        update_kl=0.03, gae_lambda=0.97, solver_steps=6, updates_per_step=20, epochs=5
    )
    made = NaturalGradient(both, fit, Stopwatch(), settings, generator=seeded(1))
    episodes = Episodes(world, both, Stopwatch(), steps=64, seed=0)
    while episodes.figures.get("episode_return", 0) < 195:
        made.update(next(episodes))
        assert episodes.taken < 60_000
