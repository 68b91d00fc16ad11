"""CartPole in a batch against gymnasium's two: the vector one through whole runs, the single one
step for step, bit for bit.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.worlds.batched_cartpole import BatchedCartPole
from fledge.worlds.world import Box, Choices


def upright(obs: torch.Tensor) -> torch.Tensor:
    """A hand that balances for 500 steps: pushes to where the pole falls, and back to the
    middle.
    """
    x, speed, angle, turning = obs.unbind(-1)
    return (0.1 * x + 0.3 * speed + 3 * angle + turning > 0).long()


@pytest.mark.parametrize("copies", [1, 8, 100])
def test_whole_runs_are_gymnasiums(copies):
    """Half of the copies fall soon, the others are cut at 500 steps; new starts come in the same
    order.
    """
    ours = BatchedCartPole(copies)
    theirs = gymnasium.make_vec("CartPole-v1", copies, vectorization_mode="vector_entry_point")
    obs = ours.reset(3)
    assert np.array_equal(obs.numpy(), theirs.reset(seed=3)[0])
    generator = torch.Generator().manual_seed(0)
    falls = cuts = 0
    for _ in range(1100):
        action = upright(obs)
        careless = torch.arange(copies) >= (copies + 1) // 2
        action = torch.where(careless, torch.randint(2, (copies,), generator=generator), action)
        after = ours.step(action)
        seen, reward, terminated, truncated, _ = theirs.step(action.numpy())
        obs = after.obs
        assert np.array_equal(obs.numpy(), seen)
        assert np.array_equal(after.reward.numpy(), reward)
        assert np.array_equal(after.terminated.numpy(), terminated)
        assert np.array_equal(after.truncated.numpy(), truncated)
        falls, cuts = falls + int(terminated.sum()), cuts + int(truncated.sum())
    assert cuts >= 2 * ((copies + 1) // 2)
    assert falls >= 20 * (copies // 2)
    theirs.close()


def test_every_step_is_the_single_environments():
    ours = BatchedCartPole(4)
    theirs: list[Any] = [gymnasium.make("CartPole-v1").unwrapped for _ in range(4)]
    ours.reset(11)
    for i, env in enumerate(theirs):
        env.reset()
        env.state = ours.state[:, i].copy()
    generator = torch.Generator().manual_seed(1)
    going = torch.ones(4, dtype=torch.bool)
    for _ in range(200):
        action = torch.randint(2, (4,), generator=generator)
        after = ours.step(action)
        for i in going.nonzero().flatten().tolist():
            seen, reward, terminated, _, _ = theirs[i].step(int(action[i]))
            assert after.obs[i].tolist() == seen.tolist()
            assert ours.state[:, i].tolist() == theirs[i].state.tolist()
            assert (float(after.reward[i]), bool(after.terminated[i])) == (reward, terminated)
        going &= ~after.terminated
    assert not going.any()


def test_spaces_are_gymnasiums():
    ours, theirs = BatchedCartPole(2), gymnasium.make("CartPole-v1")
    assert isinstance(ours.observation, Box)
    assert isinstance(theirs.observation_space, gymnasium.spaces.Box)
    assert ours.observation.low.tolist() == theirs.observation_space.low.tolist()
    assert ours.observation.high.tolist() == theirs.observation_space.high.tolist()
    assert not ours.observation.bounded
    assert ours.action == Choices((2,))


def test_what_it_gave_stays_as_it_was():
    world = BatchedCartPole(3)
    first = world.reset(0)
    kept = [first, *world.step(torch.tensor([0, 1, 0]))]
    copies = [tensor.clone() for tensor in kept]
    for _ in range(60):
        world.step(torch.tensor([1, 1, 1]))
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


def test_two_seeds_begin_differently_and_one_alike():
    world = BatchedCartPole(5)
    first, again, other = world.reset(1), world.reset(1), world.reset(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(set(first[:, 0].tolist())) == 5


def test_an_action_that_is_neither_is_told():
    world = BatchedCartPole(2)
    world.reset(0)
    with pytest.raises(UserError, match=r"told \[1, 2\]: give 0 .left. or 1"):
        world.step(torch.tensor([1, 2]))
