"""A saved world goes on bit for bit where it can, through the very files of a checkpoint, and
begins anew where it cannot.
"""

from __future__ import annotations

import json

import gym_examples
import gymnasium
import pytest
import torch

from fledge.runs.state import flatten, unflatten
from fledge.worlds.gym import GymWorld
from fledge.worlds.make import make_world
from fledge.worlds.world import Box, Choices, World

gym_examples.register()

OURS = ["CartPole-v1", "Hopper-v5", "HalfCheetah-v5", "InvertedPendulum-v5", "words:reverse"]
CLASSIC = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"]
BODIES = ["Ant-v5", "Humanoid-v5", "Reacher-v5", "Pusher-v5", "InvertedDoublePendulum-v5"]


def some_actions(world: World, steps: int, seed: int) -> torch.Tensor:
    """[steps, n, *A]"""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(world.action, Box):
        low, high = world.action.low, world.action.high
        return low + (high - low) * torch.rand(steps, world.copies, *low.shape, generator=generator)
    assert isinstance(world.action, Choices)
    (size,) = world.action.sizes
    return torch.randint(size, (steps, world.copies), generator=generator)


def through_a_file(state: dict) -> dict:
    plain, tensors = flatten(state)
    return unflatten(
        json.loads(json.dumps(plain)), {name: tensor.clone() for name, tensor in tensors.items()}
    )


def check_resume(make, before: int, after: int, at_an_end: bool = False) -> None:
    """Acts `before` steps, saves, acts `after`; another that loads shows the same, ends and new
    beginnings included.

    at_an_end: acts on from there until an episode ends, and saves between that and the step that
        begins anew.
    """
    first, second = make(), make()
    actions = some_actions(first, before + after, 1)
    first.reset(7)
    seen = torch.empty(0)
    for action in actions[:before]:
        seen = first.step(action).obs
    for action in actions[before : before + after // 2] if at_an_end else []:
        seen, _, terminated, truncated = first.step(action)
        before += 1
        if (terminated | truncated).any():
            break
    saved = through_a_file(first.state_dict())
    second.reset(8)
    second.step(actions[0])
    assert torch.equal(second.load_state_dict(saved), seen)
    ended = torch.zeros(first.copies, dtype=torch.bool)
    for action in actions[before:]:
        ours, theirs = first.step(action), second.step(action)
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other)
        ended |= ours.terminated | ours.truncated
    assert at_an_end or ended.all()
    first.close()
    second.close()


@pytest.mark.parametrize("at_an_end", [False, True])
@pytest.mark.parametrize("name", OURS)
def test_a_world_of_ours_goes_on_bit_for_bit(name, at_an_end):
    if name == "HalfCheetah-v5":
        check_resume(lambda: make_world(name, 2), 980, 60, at_an_end)
    else:
        check_resume(lambda: make_world(name, 3), 20, 100, at_an_end)


def test_the_steps_already_taken_are_not_forgotten():
    """A pole that is kept upright is cut 500 steps after its start, wherever the run was
    interrupted.
    """
    world, other = make_world("CartPole-v1", 2), make_world("CartPole-v1", 2)
    obs = world.reset(0)
    for step in range(1, 501):
        after = world.step(
            (3 * obs[:, 2] + obs[:, 3] + 0.1 * obs[:, 0] + 0.3 * obs[:, 1] > 0).long()
        )
        obs = after.obs
        assert after.truncated.tolist() == [step == 500] * 2
        if step == 400:
            other.load_state_dict(through_a_file(world.state_dict()))
            world = other


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_control_goes_on_bit_for_bit(name):
    limit = gymnasium.spec(name).max_episode_steps or 0
    check_resume(lambda: GymWorld(name, 2), 45, limit)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_goes_on_bit_for_bit(name):
    pytest.importorskip("mujoco")
    limit = gymnasium.spec(name).max_episode_steps or 0
    before = 970 if name == "Ant-v5" else 30
    check_resume(lambda: GymWorld(name, 1), before, min(limit, 130))


def test_the_step_that_begins_anew_is_not_forgotten():
    """Saved between the end of an episode and the step that begins the next."""
    world, other = GymWorld("Pendulum-v1", 1), GymWorld("Pendulum-v1", 1)
    world.reset(0)
    for _ in range(199):
        world.step(torch.zeros(1, 1))
    assert world.step(torch.zeros(1, 1)).truncated.all()
    other.load_state_dict(through_a_file(world.state_dict()))
    ours, theirs = world.step(torch.zeros(1, 1)), other.step(torch.zeros(1, 1))
    assert torch.equal(ours.obs, theirs.obs)
    assert theirs.reward == 0.0
    assert not (theirs.truncated | theirs.terminated).any()


@pytest.mark.parametrize(
    ("name", "processes"),
    [("Test/Noisy-v0", False), ("Pendulum-v1", True), ("Test/Wrapped-v0", False)],
)
def test_what_cannot_be_restored_begins_anew_and_differently(name, processes):
    world = GymWorld(name, 2, processes=processes)
    assert not world.restorable
    firsts = [world.reset(3)]
    actions = some_actions(world, 5, 0)
    for action in actions:
        world.step(action)
    saved = through_a_file(world.state_dict())
    firsts.append(world.load_state_dict(saved))
    # the same every time from one checkpoint
    assert torch.equal(world.load_state_dict(saved), firsts[1])
    assert not world.step(actions[0]).truncated.any()
    firsts.append(world.load_state_dict(through_a_file(world.state_dict())))
    world.close()
    assert len({str(first.tolist()) for first in firsts}) == 3
