"""The statistics of observations are those of every batch learned from, and of no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.algorithms.parts.observing import Observing, see_what_came, see_what_was_chosen_at
from fledge.algorithms.policy.ppo import PPO
from fledge.models.control.actor_critic import ActorCritic
from fledge.runs.checkpoint import load_state, save_state
from fledge.sample.episodes import Episodes
from fledge.sample.whole_episodes import WholeEpisodes
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.make import make_world
from tests.subjects import learner, seeded

KINDS = {
    "running on": (see_what_came, lambda rows: rows.obs[:, 1:].reshape(-1, 4)),
    "whole": (see_what_was_chosen_at, lambda rows: rows.obs[:, :-1][rows.chosen]),
}


class Stopped(Exception):
    pass


def make(kind: str) -> tuple[ActorCritic, Any, Observing]:
    world = make_world("CartPole-v1", 3)
    policy = ActorCritic(
        world.observation, world.action, generator=seeded(1), widths=(8,), normalise=True
    )
    if kind == "whole":
        sampler: Any = WholeEpisodes(world, policy, Stopwatch(), seed=0)
    else:
        sampler = Episodes(world, policy, Stopwatch(), steps=20, seed=0)
    settings = PPO.InWorlds(epochs=2, updates_per_step=4)
    ppo = PPO(policy, learner(policy), Stopwatch(), settings, generator=seeded(2))
    return policy, sampler, Observing(ppo, policy.encoder, KINDS[kind][0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_counts_when_it_has_been_learned_from_and_not_before(kind: str) -> None:
    """While it is acted out and learned from the policy is one policy: PPO refuses samples that are
    another one's.
    """
    policy, sampler, algorithm = make(kind)
    seen: list[Tensor] = []
    held = policy.encoder.mean.clone()

    def stays() -> None:
        assert torch.equal(policy.encoder.mean, held)

    for _ in range(3):
        batch: Trajectories = next(sampler)
        stays()
        assert batch.logp is not None
        said = policy.log_prob(batch.obs, batch.action)
        torch.testing.assert_close(said[batch.chosen], batch.logp[batch.chosen])
        algorithm.update(batch, stays)
        seen.append(KINDS[kind][1](batch).double())
        every = torch.cat([torch.zeros(1, 4), *seen])  # one is taken to have come before
        torch.testing.assert_close(policy.encoder.mean, every.mean(0).float())
        square = (every.square().sum(0) + 1) / len(every)
        torch.testing.assert_close(
            policy.encoder.variance, (square - every.mean(0).square()).float()
        )
        assert float(policy.encoder.count) == len(every)
        held = policy.encoder.mean.clone()


@pytest.mark.parametrize("moment", range(1, 5))
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_that_is_broken_off_counts_its_batch_once(
    kind: str, moment: int, tmp_path: Path
) -> None:
    (policy, sampler, straight), (other, _, resumed) = make(kind), make(kind)
    straight.update(next(sampler))
    steps = 0

    def stop() -> None:
        nonlocal steps
        steps += 1
        if steps == moment:
            save_state(tmp_path / "state", straight.state_dict())

    straight.update(next(sampler), stop)
    resumed.load_state_dict(load_state(tmp_path / "state"))
    resumed.update(resumed.unfinished)
    for (name, mine), theirs in zip(
        other.state_dict().items(), policy.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_that_fails_counts_nothing_and_the_next_batch_counts_itself(kind: str) -> None:
    policy, sampler, algorithm = make(kind)

    def fail(batch: Any, between_steps: Callable[[], None]) -> dict[str, float]:
        raise Stopped

    batch, update = next(sampler), algorithm.algorithm.update
    algorithm.algorithm.update = fail
    with pytest.raises(Stopped):
        algorithm.update(batch)
    assert float(policy.encoder.count) == 1
    algorithm.algorithm.update = update
    algorithm.update(batch)
    assert float(policy.encoder.count) == 1 + len(KINDS[kind][1](batch))
