"""Gymnasium's environments as a World: the same episodes, true last observations, cut actions, and
every failure in a sentence.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from typing import Any

import gym_examples
import gymnasium
import numpy as np
import pytest
import torch

from fledge.errors import UserError
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.worlds.gym import GymWorld, seeds_of
from fledge.worlds.world import Box, Choices

gym_examples.register()


class Told:
    """An actor that gives one and the same action."""

    def __init__(self, action):
        self.action = torch.as_tensor(action)

    def act(self, obs, generator):
        return self.action.expand(len(obs), *self.action.shape).clone(), None


@pytest.fixture
def world(request):
    """The world of the parameter (a name, or keywords), closed afterwards."""
    asked = request.param if isinstance(request.param, dict) else {"name": request.param}
    made = GymWorld(**{"copies": 2, **asked})
    yield made
    made.close()


def batches(world, action, steps: int) -> Episodes:
    return Episodes(world, Told(action), Stopwatch(), steps=steps, seed=0)


def odd_copies(seed: int, copies: int) -> list[int]:
    """Which copies have an odd seed of their own."""
    return [i for i, own in enumerate(seeds_of(seed, copies)) if own % 2]


def act(world, seed: int) -> None:
    """Four steps of action 0."""
    world.reset(seed)
    for _ in range(4):
        world.step(torch.zeros(world.copies, dtype=torch.long))


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize("name", ["Cut", "Ending"])
def test_the_true_last_observation_stands_before_the_step_that_begins_anew(name, processes):
    world = GymWorld(f"Test/{name}-v0", 3, processes=processes)
    rows = next(batches(world, 0, 25))
    world.close()
    # 10 steps, one that only begins anew, 10 steps, one that begins anew, 3 steps.
    count = [*range(11), *range(11), *range(4)]
    episode = [0] * 11 + [1] * 11 + [2] * 4
    assert rows.obs[:, :, 0].tolist() == [count] * 3
    assert (rows.obs[:, :, 1] - rows.obs[:, :1, 1]).tolist() == [episode] * 3
    at_end = [t in (9, 20) for t in range(25)]
    begins = [t in (10, 21) for t in range(25)]
    nowhere = [False] * 25
    assert rows.truncated.tolist() == [at_end if name == "Cut" else nowhere] * 3
    assert rows.terminated.tolist() == [at_end if name == "Ending" else nowhere] * 3
    assert rows.chosen.tolist() == [[not begin for begin in begins]] * 3
    assert rows.reward.tolist() == [[0.0 if begin else 1.0 for begin in begins]] * 3


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize(
    "name", ["Pendulum-v1", "Acrobot-v1", "FrozenLake-v1", "MountainCarContinuous-v0"]
)
def test_it_is_what_gymnasium_steps_by_itself(name, processes):
    world = GymWorld(name, 3, processes=processes)
    theirs: Any = gymnasium.make_vec(name, 3, vectorization_mode="sync")
    theirs.action_space.seed(0)
    seen = world.reset(5)
    assert np.array_equal(
        seen.numpy(), theirs.reset(seed=seeds_of(5, 3))[0].astype(seen.numpy().dtype)
    )
    ends = 0
    for _ in range(520 if name == "Acrobot-v1" else 210):
        action = theirs.action_space.sample()
        ours = world.step(torch.from_numpy(np.array(action)))
        obs, reward, terminated, truncated, _ = theirs.step(action)
        assert np.array_equal(ours.obs.numpy(), obs.astype(seen.numpy().dtype))
        assert np.array_equal(ours.reward.numpy(), reward.astype(np.float32))
        assert np.array_equal(ours.terminated.numpy(), terminated)
        assert np.array_equal(ours.truncated.numpy(), truncated)
        ends += int((terminated | truncated).sum())
    assert ends > 0 or name == "MountainCarContinuous-v0"  # that one goes on for 999 steps
    world.close()
    theirs.close()


@pytest.mark.parametrize("world", ["Test/Repeating-v0"], indirect=True)
def test_an_action_is_cut_to_the_bounds_and_the_trainer_keeps_its_own(world):
    rows = next(batches(world, [-7.0, 300.0], 2))
    assert rows.obs[:, 1:].tolist() == [[[-1.0, 300.0]] * 2] * 2
    assert rows.action.tolist() == [[[-7.0, 300.0]] * 2] * 2
    assert world.step(torch.tensor([[0.5, -3.0], [2.0, 0.25]])).obs.tolist() == [
        [0.5, 0.0],
        [1.0, 0.25],
    ]


@pytest.mark.parametrize("world", ["Test/RepeatingChoices-v0"], indirect=True)
def test_several_choices_count_from_nought(world):
    world.reset(0)
    assert world.action == Choices((3, 4))
    assert world.step(torch.tensor([[0, 0], [2, 3]])).obs.tolist() == [[5.0, -1.0], [7.0, 2.0]]


@pytest.mark.parametrize("world", ["Test/FromMinusTwo-v0"], indirect=True)
def test_one_choice_counts_from_nought_seen_and_told(world):
    assert world.reset(0).tolist() == [0, 0]
    assert (world.action, world.observation) == (Choices((4,)), Choices((4,)))
    step = world.step(torch.tensor([0, 3]))
    assert step.obs.tolist() == [0, 3]
    assert step.obs.dtype == torch.int64


@pytest.mark.parametrize("world", ["Test/Bits-v0"], indirect=True)
def test_bits_are_choices_of_two(world):
    assert world.action == world.observation == Choices((2, 2, 2))
    assert world.reset(0).tolist() == [[0, 1, 1]] * 2
    assert world.step(torch.tensor([[1, 0, 1], [0, 0, 0]])).obs.tolist() == [[1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("world", ["Test/Coloured-v0"], indirect=True)
def test_pictures_come_with_the_colours_first(world):
    world.reset(0)
    seen = world.step(torch.tensor([0, 0])).obs
    assert seen.dtype == torch.uint8
    assert isinstance(world.observation, Box)
    assert world.observation.shape == seen.shape[1:] == (3, 36, 37)
    assert seen[0, 0, :2, :3].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert seen[0, 1, :2, :3].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert seen[0, 2, :2, :3].tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("world", ["Test/Grey-v0"], indirect=True)
def test_a_grey_picture_has_one_colour(world):
    assert world.reset(0).shape == (2, 1, 40, 50)
    assert world.observation.shape == (1, 40, 50)


@pytest.mark.parametrize(
    ("name", "first", "wanted"),
    [
        ("Board", 6, [0, 0.25, 0.5, 0.25, 0.25, 0.25]),
        ("SmallPicture", 6, [1 / 255] * 6),
        # as gymnasium.spaces.flatten has it: keys in order, a choice as one-hot
        ("InADict", 7, [0, 1, 0, 1, 0, 1, -1]),
    ],
)
@pytest.mark.parametrize("processes", [False, True])
def test_boards_small_pictures_and_dicts_come_as_one_row_of_numbers(name, first, wanted, processes):
    world = GymWorld(f"Test/{name}-v0", 2, processes=processes)
    assert isinstance(world.observation, Box)
    assert world.reset(0).shape == (2, *world.observation.shape)
    seen = world.step(torch.tensor([0, 1])).obs
    world.close()
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen[1, :first], torch.tensor(wanted, dtype=torch.float32))
    if name == "SmallPicture":
        assert seen.shape == (2, 147)


@pytest.mark.parametrize("world", ["Test/GridOfBits-v0"], indirect=True)
def test_a_grid_of_choices_is_read_row_by_row(world):
    assert world.action == world.observation == Choices((2,) * 6)
    assert world.reset(0).tolist() == [[0] * 6] * 2
    told = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 0, 0, 1, 1, 1]])
    assert torch.equal(world.step(told).obs, told)


def test_atari_shows_four_grey_frames():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    world = GymWorld("ALE/Pong-v5", 2)
    seen = world.reset(0)
    for _ in range(3):
        world.step(torch.tensor([2, 3]))
    after = world.step(torch.tensor([2, 3]))
    world.close()
    assert (seen.shape, seen.dtype) == ((2, 4, 84, 84), torch.uint8)
    assert world.observation.shape == (4, 84, 84)
    assert torch.equal(seen[:, 0], seen[:, 3])  # the first frame, four times
    assert not torch.equal(after.obs[:, 0], after.obs[:, 3])
    assert world.action == Choices((6,))
    assert not world.restorable


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("InAGraph", "Test/InAGraph-v0 shows a Dict with parts that have no fixed length"),
        ("ToldAText", "Test/ToldAText-v0 is told a Text.*TransformAction"),
        (
            "RaisingAtBirth",
            (
                "failed as it was made .OSError: no such robot, .*gym_examples.py, line [0-9]+.: "
                "mend it"
            ),
        ),
        ("LacksAModule", "cannot be made .Box2D is not there.: install"),
    ],
)
@pytest.mark.parametrize("processes", [False, True])
def test_what_cannot_be_a_world_says_why_at_once(name, said, processes):
    with pytest.raises(UserError, match=said):
        GymWorld(f"Test/{name}-v0", 2, processes=processes)
    assert not multiprocessing.active_children()


def test_what_cannot_be_made_in_a_process_of_its_own_is_told(capfd):
    with pytest.raises(UserError, match="Test/RaisingElsewhere-v0 failed as its processes began"):
        GymWorld("Test/RaisingElsewhere-v0", 2, processes=True)
    gc.collect()
    assert not multiprocessing.active_children()
    assert "the licence is for one process" in capfd.readouterr().err


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(
        UserError, match=r"ALE/Pong-v5 cannot be made.*pip install 'fledge\[atari\]"
    ):
        GymWorld("ALE/Pong-v5", 1)
    for loaded in [
        name for name in sys.modules if name.startswith(("mujoco", "gymnasium.envs.mujoco"))
    ]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(UserError, match=r"Ant-v5 cannot be made.*pip install 'fledge\[mujoco\]"):
        GymWorld("Ant-v5", 1)


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NotANumber", "copy 1 of Test/NotANumber-v0 shows nan at place 1"),
        ("PaysInfinity", "copy 0 of Test/PaysInfinity-v0 gave the reward inf"),
        ("Raising", "Test/Raising-v0 failed .* .RuntimeError: the gripper has come off"),
        ("RaisingAtReset", "Test/RaisingAtReset-v0 failed .* .ValueError: no such maze"),
    ],
)
def test_what_goes_wrong_on_the_way_is_a_sentence(name, said, processes):
    world = GymWorld(f"Test/{name}-v0", 2, processes=processes)
    seed = next(seed for seed in range(100) if odd_copies(seed, 2) == [1])
    with pytest.raises(UserError, match=said):
        act(world, seed)
    world.close()
    assert not multiprocessing.active_children()


def test_a_shape_that_was_not_promised_is_told():
    world = GymWorld("Test/OtherShape-v0", 2)
    with pytest.raises(UserError, match=r"copy 0 .* shows \(3,\), and its space says \(2,\)"):
        world.reset(0)


def test_an_action_that_is_no_number_is_told():
    world = GymWorld("Pendulum-v1", 2)
    world.reset(0)
    with pytest.raises(UserError, match=r"copy 1 of Pendulum-v1 was told \[nan\].*learning rate"):
        world.step(torch.tensor([[0.0], [float("nan")]]))


def test_a_process_that_dies_is_told_and_leaves_none_behind():
    world = GymWorld("Test/Dying-v0", 3, processes=True)
    seed = next(seed for seed in range(100) if odd_copies(seed, 3) == [0])
    with pytest.raises(UserError, match="Test/Dying-v0 failed as one of its processes was ended"):
        act(world, seed)
    world.close()
    world.close()
    assert not multiprocessing.active_children()


def test_ctrl_c_does_not_reach_the_processes():
    world = GymWorld("Test/Endless-v0", 2, processes=True)
    world.reset(0)
    for process in multiprocessing.active_children():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
    assert world.step(torch.tensor([0, 0])).obs[:, 0].tolist() == [1.0, 1.0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and still reaches us
    world.close()


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("import os; os._exit(0)", r"called os._exit\(0\)"),
    ],
)
def test_a_world_in_this_process_does_not_end_it(deed, said):
    world = GymWorld("mine", 2, maker=lambda: gym_examples.Misbehaving(deed))
    world.reset(0)
    with pytest.raises(
        UserError, match=rf"the world mine failed in copy 0 \({said}, .*line \d+\): mend it"
    ):
        world.step(torch.tensor([0, 1]))


def test_a_process_that_is_stopped_holds_nobody_up_at_the_end():
    world = GymWorld("CartPole-v1", 2, processes=True)
    world.reset(0)
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGSTOP)
    world.close()
    assert not multiprocessing.active_children()
