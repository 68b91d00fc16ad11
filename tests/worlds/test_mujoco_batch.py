"""The batched bodies against gymnasium's own, bit for bit through whole runs, whatever the number
of threads.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.worlds.mujoco_batch import BODIES, MujocoBatch, hide_warnings
from fledge.worlds.world import Box

pytest.importorskip("mujoco")

COPIES = 3


def actions(world: MujocoBatch, steps: int) -> torch.Tensor:
    """Uniform within the bounds.  [steps, n, *A] float32"""
    generator = torch.Generator().manual_seed(2)
    low, high = torch.from_numpy(world.low), torch.from_numpy(world.high)
    return low + (high - low) * torch.rand(steps, world.copies, len(low), generator=generator)


@pytest.mark.parametrize("name", BODIES)
def test_whole_runs_are_gymnasiums(name):
    endless = name in ("HalfCheetah-v5", "Swimmer-v5")
    world = MujocoBatch(name, COPIES)
    with hide_warnings():
        theirs: Any = gymnasium.make_vec(name, COPIES, vectorization_mode="sync")
    seeds = np.random.SeedSequence(4).generate_state(COPIES).tolist()
    assert np.array_equal(world.reset(4).numpy(), theirs.reset(seed=seeds)[0].astype(np.float32))
    ends = 0
    for action in actions(world, 1010 if endless else 300):
        # The pendulum would fall at once under its full force: let it see its angle's edge slowly.
        action = action * 0.1 if name.startswith("Inverted") else action
        after = world.step(action)
        obs, reward, terminated, truncated, _ = theirs.step(action.numpy())
        assert np.array_equal(after.obs.numpy(), obs.astype(np.float32))
        assert np.array_equal(after.reward.numpy(), reward.astype(np.float32))
        assert np.array_equal(after.terminated.numpy(), terminated)
        assert np.array_equal(after.truncated.numpy(), truncated)
        ends += int((terminated | truncated).sum())
    assert ends == COPIES if endless else ends > 10
    assert world.observation.shape == theirs.single_observation_space.shape
    assert isinstance(world.action, Box)
    assert world.action.low.tolist() == theirs.single_action_space.low.tolist()
    assert world.action.high.tolist() == theirs.single_action_space.high.tolist()
    world.close()
    theirs.close()


@pytest.mark.parametrize("name", ["Hopper-v5", "Walker2d-v5", "InvertedPendulum-v5"])
def test_states_that_a_run_seldom_meets_are_judged_as_gymnasium_does(name):
    """Thrown high, leaning and at all speeds up to 150: 300 of them, each followed by one step."""
    world = MujocoBatch(name, 300)
    world.reset(0)
    generator = np.random.default_rng(0)
    scale = generator.uniform(0, 1, (300, 1)) ** 2  # many near the edges of what is in range
    world.position[:, :] += scale * generator.uniform(-3, 3, world.position.shape)
    world.speed[:, :] = scale * generator.uniform(-150, 150, world.speed.shape)
    world.batch.forward()
    states = [*zip(world.position.copy(), world.speed.copy(), strict=True)]
    action = torch.zeros(300, len(world.low))
    after = world.step(action)
    with hide_warnings():
        env: Any = gymnasium.make(name)
    env.reset()
    for i, (position, speed) in enumerate(states):
        env.unwrapped.set_state(position, speed)
        obs, reward, terminated, _, _ = env.unwrapped.step(action[i].numpy())
        assert after.obs[i].tolist() == obs.astype(np.float32).tolist()
        assert (after.reward[i].item(), after.terminated[i].item()) == (
            np.float32(reward),
            terminated,
        )
    assert 20 < after.terminated.sum() < 280


def test_a_walker_that_stands_is_cut_after_1000_steps():
    """Time runs out for a body that can fall, too: the pendulum is held upright by its own
    speed.
    """
    world = MujocoBatch("InvertedPendulum-v5", 2)
    obs = world.reset(0)
    for step in range(1, 1001):
        after = world.step(
            (3 * obs[:, 1:2] + 0.5 * obs[:, 3:4] + 0.1 * obs[:, :1] + 0.2 * obs[:, 2:3]) * 2
        )
        obs = after.obs
        assert after.truncated.tolist() == [step == 1000] * 2
        assert not after.terminated.any()
        assert after.reward.tolist() == [1.0, 1.0]
    begun = world.step(torch.zeros(2, 1))
    assert begun.reward.tolist() == [0.0, 0.0]
    assert not begun.truncated.any()
    assert begun.obs.abs().max() <= 0.01


def test_two_threads_compute_what_one_does(request):
    request.addfinalizer(lambda: torch.set_num_threads(1))
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        world = MujocoBatch("Hopper-v5", 5)
        assert world.batch.nthread == threads
        runs.append([world.reset(0), *(world.step(action).obs for action in actions(world, 100))])
    assert all(torch.equal(one, two) for one, two in zip(*runs, strict=True))


def test_actions_are_cut_to_the_bounds():
    far, cut = MujocoBatch("HalfCheetah-v5", 2), MujocoBatch("HalfCheetah-v5", 2)
    assert torch.equal(far.reset(0), cut.reset(0))
    for action in 3 * actions(far, 20):
        one, other = far.step(action), cut.step(action.clamp(-1, 1))
        assert torch.equal(one.obs, other.obs)
        assert torch.equal(one.reward, other.reward)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_action_that_is_no_number_is_told(bad):
    world = MujocoBatch("Swimmer-v5", 2)
    world.reset(0)
    with pytest.raises(UserError, match=r"Swimmer-v5 was told \[0.0, (nan|inf)\].*learning rate"):
        world.step(torch.tensor([[0.0, 0.0], [0.0, bad]]))


def test_it_writes_no_log_where_the_user_is(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    world = MujocoBatch("HalfCheetah-v5", 1)
    world.reset(0)
    world.close()
    world.close()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(UserError, match=r"Hopper-v5 cannot be made.*pip install 'fledge\[mujoco\]"):
        MujocoBatch("Hopper-v5", 1)
