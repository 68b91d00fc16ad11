"""Worker processes: what they send, what they are told when the weights change, and how they fail and end."""

from __future__ import annotations

import itertools
import os
import signal

import pytest
import torch

from fledge.errors import UserError
from fledge.models.actor_critic import ActorCritic
from fledge.sample.workers import Workers
from fledge.stopwatch import Stopwatch
from fledge.worlds.make import make_world


def policy() -> ActorCritic:
    world = make_world("CartPole-v1", 1)
    return ActorCritic(world.observation, world.action, generator=torch.Generator().manual_seed(0), widths=(8,))


def test_batches_come_and_soon_by_the_new_weights_and_a_death_is_told() -> None:
    actor = policy()
    sampler = Workers("CartPole-v1", 3, actor, Stopwatch(), workers=2, steps=7, seed=0)
    try:
        first = next(sampler)
        assert first.chosen.shape == (3, 7)
        assert first.logp is not None
        said = actor.log_prob(first.obs, first.action)
        torch.testing.assert_close(said[first.chosen], first.logp[first.chosen])
        with torch.no_grad():
            list(actor.actor.parameters())[-1][:] = torch.tensor(
                [50.0, -50.0]
            )  # from now on everybody pushes to the left
        batches = [next(sampler) for _ in range(12)]
        assert bool((batches[-1].action == 0).all())  # what lay ready before is used up by then
        assert sampler.figures["lag"] <= 4
        assert sampler.taken == sum(int(b.chosen.sum()) for b in (first, *batches))
        os.kill(sampler.processes[0].pid or 0, signal.SIGKILL)
        os.kill(sampler.processes[1].pid or 0, signal.SIGKILL)
        with pytest.raises(UserError, match="ended with code -9"):
            list(itertools.islice(iter(sampler.__next__, None), 6))
    finally:
        sampler.close()
    assert not any(process.is_alive() for process in sampler.processes)


def test_what_a_worker_complains_of_reaches_the_user() -> None:
    sampler = Workers("words:nothing", 1, policy(), Stopwatch(), workers=1, steps=3, seed=0)
    try:
        with pytest.raises(UserError, match="nothing"):
            next(sampler)
    finally:
        sampler.close()
