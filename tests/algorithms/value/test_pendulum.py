"""SAC and TD3 swing a pendulum up and hold it: their best example, in half a minute each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.algorithms.value.soft_actor_critic import SoftActorCritic
from fledge.algorithms.value.td3 import TD3
from fledge.learner import Learner, Schedule
from fledge.models.control.squashed_actor import DeterministicActor, GaussianActor
from fledge.models.control.twin_critic import TwinCritic
from fledge.optimizers import adamw
from fledge.sample.episodes import Episodes
from fledge.sample.replay import Replay
from fledge.stopwatch import Stopwatch
from fledge.worlds.make import make_world
from fledge.worlds.world import World
from tests.subjects import seeded

LENGTH = 200  # steps of an episode, all of which time ends


def learner(module: torch.nn.Module) -> Learner:
    return Learner(
        module, Schedule(1e-3, 1), optimizer=adamw(betas=(0.9, 0.999), weight_decay=0.0), clip=0.0
    )


def mean_return(algorithm: Any, judge: World) -> float:
    """Of one episode in each copy."""
    obs, earned = judge.reset(99), torch.zeros(judge.copies)
    for _ in range(LENGTH):
        step = judge.step(algorithm.best(obs))
        obs, earned = step.obs, earned + step.reward
    return float(earned.mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "acts"), [(SoftActorCritic, GaussianActor), (TD3, DeterministicActor)]
)
def test_it_swings_a_pendulum_up_within_12_000_steps(kind: Any, acts: Any) -> None:
    """Mean return of 10 episodes that are not its own: −1,200 and below at first, −300 or more
    within 12,000 steps of 4 copies.
    """
    world, judge = make_world("Pendulum-v1", 4), make_world("Pendulum-v1", 10)
    spaces, random = (world.observation, world.action), seeded(0)
    actor = acts(*spaces, generator=random, widths=(64, 64))
    critic = TwinCritic(*spaces, generator=random, widths=(64, 64))
    algorithm = kind(
        actor,
        critic,
        learner(actor),
        learner(critic),
        Stopwatch(),
        replay=Replay(20_000, generator=seeded(1)),
        generator=seeded(2),
        updates_per_step=64,
        rows_per_update=128,
    )
    assert mean_return(algorithm, judge) < -900
    episodes = Episodes(world, algorithm, Stopwatch(), steps=16, seed=0)
    while mean_return(algorithm, judge) < -300:
        assert episodes.taken < 12_000
        for _ in range(16):
            algorithm.update(next(episodes))
    world.close()
    judge.close()
