"""Gymnasium's environments as a World: classic control, MuJoCo, Atari, and whatever else is
registered.

Atari (Mnih et al. 2015, with the sticky actions of Machado et al. 2018) is seen through gymnasium's
own wrappers, as uint8 [4, 84, 84]: the last four of the grey frames, every fourth one, two of them
merged against flicker. Rewards are not cut, and a lost life is no end.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import DependencyNotInstalled
from gymnasium.wrappers import FlattenObservation
from torch import Tensor

from fledge.errors import UserError
from fledge.user_code import look_in_current_folder, tell_as
from fledge.worlds.gym_copies import InProcesses, InTurn, describe_failure
from fledge.worlds.gym_spaces import translate_actions, translate_observations
from fledge.worlds.gym_state import bring_back, is_known, state_of
from fledge.worlds.mujoco_batch import hide_warnings
from fledge.worlds.own import WorldMaker, load_from_file, make_own, split_file_name
from fledge.worlds.world import Choices, Step

# Which of our extras brings what an environment lacks, by the beginning of its class's module.
EXTRAS = {
    "gymnasium.envs.mujoco": "mujoco",
    "ale_py": "atari",
    "gymnasium.envs.classic_control": "classic",
}


def seeds_of(seed: int, copies: int, begun: int = 0) -> list[int]:
    """A seed for each copy, different ones for every run's seed and every time that the copies have
    begun anew.

    Not seed, seed + 1, …, as gymnasium has it: the copies of two runs would begin alike, and five
    seeds be one and a half.
    """
    return np.random.SeedSequence(seed, spawn_key=(begun,)).generate_state(copies).tolist()


def make_environment(
    name: str, pictures: bool = False, maker: WorldMaker | None = None
) -> gymnasium.Env:
    """One environment: gymnasium's `name`, a file's `./mine.py:World`, or what `maker` makes.
    `pictures`: it can be drawn, as RGB.

    What shows a Dict or a Tuple is flattened: numbers as they are, choices as one-hot, in the order
    of `gymnasium.spaces.flatten`. Raises UserError for a missing extra or one that fails to start;
    what gymnasium raises for an unknown name travels.
    """
    in_file = split_file_name(name)
    if maker is None and in_file is not None:
        maker = load_from_file(*in_file)
    environment = (
        make_registered(name, pictures) if maker is None else make_own(maker, name, pictures)
    )
    seen = environment.observation_space
    if not isinstance(seen, spaces.Dict | spaces.Tuple):
        return environment
    if not isinstance(spaces.flatten_space(seen), spaces.Box):
        raise UserError(
            f"{name} shows a {type(seen).__name__} with parts that have no fixed length (Graph, "
            "Sequence): wrap it so that it shows numbers or choices."
        )
    return FlattenObservation(environment)


def make_registered(name: str, pictures: bool) -> gymnasium.Env:
    """One of those that gymnasium knows by `name`."""
    if name.startswith("ALE/"):
        try:
            ale_py = importlib.import_module("ale_py")
        except ImportError as error:
            raise explain_missing(name, "ale_py", error) from error
        gymnasium.register_envs(ale_py)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    module, colon, known = name.rpartition(":")
    if colon:
        look_in_current_folder()
        with tell_as(
            lambda error: describe_failure(name, f"as the module {module} was imported", error)
        ):
            importlib.import_module(module)
    place = str(gymnasium.spec(known).entry_point)
    with tell_as(lambda error: describe_failure(name, "as it was made", error)):
        return _make(name, known, place, "rgb_array" if pictures else None)


def _make(name: str, known: str, place: str, render_mode: str | None) -> gymnasium.Env:
    try:
        if not known.startswith("ALE/"):
            with hide_warnings() if place.startswith("gymnasium.envs.mujoco") else nullcontext():
                return gymnasium.make(known, disable_env_checker=True, render_mode=render_mode)
        from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

        bare = gymnasium.make(known, disable_env_checker=True, render_mode=render_mode, frameskip=1)
        return FrameStackObservation(AtariPreprocessing(bare), 4)
    except (DependencyNotInstalled, ImportError) as error:
        raise explain_missing(name, place, error) from error


def explain_missing(
    name: str, place: str, error: ImportError | DependencyNotInstalled
) -> UserError:
    """The sentence about something that is not installed. place: the module of the environment."""
    extra = next((extra for module, extra in EXTRAS.items() if place.startswith(module)), None)
    what = (
        f"pip install 'fledge[{extra}]', or -e '.[{extra}]' in a clone"
        if extra
        else "install what it asks for"
    )
    return UserError(f"the world {name} cannot be made ({error}): {what}")


class GymWorld:
    """`copies` of the environment that gymnasium calls `name` ("module:Name-v0" imports the module
    first), or of one's own.

    Restorable where it is known what the state is (classic control, MuJoCo) and the copies are in
    this process. Elsewhere all copies begin anew when a run is resumed, with seeds that have not
    been used.
    """

    def __init__(
        self,
        name: str,
        copies: int,
        *,
        processes: bool = False,
        pictures: bool = False,
        maker: WorldMaker | None = None,
    ) -> None:
        """processes: a process for each copy, for environments whose step takes more than half a
        millisecond. pictures: for `picture`.
        maker: makes an environment, or is one that is copied; without it the name says which.

        Raises UserError for spaces that are not supported, a missing extra, and an environment that
        fails as it is made; what gymnasium raises for an unknown name travels.
        """
        self.name, self.copies = name, copies
        kind = InProcesses if processes else InTurn
        self.inside = kind(name, partial(make_environment, name, pictures, maker), copies)
        try:
            self.observation, self._show = translate_observations(self.inside.seen, name)
            self.action, self._tell = translate_actions(self.inside.told, name)
        except UserError:
            self.close()
            raise
        self.restorable = isinstance(self.inside, InTurn) and is_known(self.inside.envs[0])
        self.seed, self.begun = 0, 0  # how often all copies have begun anew since `reset`
        self.obs = torch.empty(0)

    def reset(self, seed: int) -> Tensor:
        self.seed, self.begun = seed, 0
        return self._begin()

    def _begin(self) -> Tensor:
        self.obs = self._check(self.inside.reset(seeds_of(self.seed, self.copies, self.begun)))
        return self.obs

    def step(self, action: Tensor) -> Step:
        after = self.inside.step(self.tell(action))
        self.obs = self._check(after.obs)
        with np.errstate(over="ignore"):
            reward = after.reward.astype(np.float32)
        if not np.isfinite(reward).all():
            copy = int(np.flatnonzero(~np.isfinite(reward))[0])
            raise UserError(
                f"copy {copy} of {self.name} gave the reward {after.reward[copy]}: mend it, or "
                "choose another."
            )
        ended = (torch.from_numpy(after.terminated), torch.from_numpy(after.truncated))
        return Step(self.obs, torch.from_numpy(reward), *ended)

    def tell(self, action: Tensor) -> np.ndarray:
        """What the environments are told.  [n, *A] -> [n, …]"""
        return self._tell(action)

    def show(self, seen: Any) -> tuple[Tensor, bool]:
        """What an environment of this kind has shown, one or several, as this world shows it [n,
        *O]; and whether it was one.

        Raises UserError for what is none of its observations.
        """
        assert isinstance(self.inside, InTurn)
        env = self.inside.envs[0]
        try:
            if isinstance(env, FlattenObservation):
                one, space = not isinstance(seen, list), env.env.observation_space
                flat: list[Any] = [
                    spaces.flatten(space, each) for each in ([seen] if one else seen)
                ]
                rows = np.stack(flat)
            else:
                rows = np.asarray(seen)
                one = rows.shape == self.inside.seen.shape
                rows = rows[None] if one else rows
        except Exception as error:  # whatever gymnasium makes of a thing that is no observation
            raise UserError(
                f"{self.name} does not show such things ({error}): give what its `step` returns."
            ) from error
        if rows.shape[1:] != self.inside.seen.shape:
            raise UserError(
                f"an observation {np.shape(seen)} was given, and {self.name} shows "
                f"{self.inside.seen.shape}: give one, or several."
            )
        return self._check(rows), one

    def _check(self, seen: np.ndarray) -> Tensor:
        try:
            with np.errstate(over="ignore"):
                numbers = self._show(seen)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.name} shows what is no number ({error}): mend it, or choose another."
            ) from error
        rows = numbers.reshape(len(numbers), -1)
        if isinstance(self.observation, Choices):
            wrong = (rows < 0) | (rows >= torch.tensor(self.observation.sizes))
        elif numbers.is_floating_point():
            wrong = ~rows.isfinite()
        else:
            return numbers  # a picture, in which every byte is a number
        if bool(wrong.any()):
            copy, place = wrong.nonzero()[0].tolist()
            wanted = (
                "one of its space's choices was"
                if isinstance(self.observation, Choices)
                else "numbers of float32 were"
            )
            raise UserError(
                f"copy {copy} of {self.name} shows "
                f"{seen.reshape(len(numbers), -1)[copy, place]} at place {place} of its "
                f"observation, and {wanted} wanted: mend it, or choose another."
            )
        return numbers

    def picture(self) -> np.ndarray:
        """The first copy as it looks now, [H, W, 3] uint8. Needs `pictures`, and no `processes`;
        what the environment raises travels.
        """
        assert isinstance(self.inside, InTurn)
        drawn: Any = self.inside.envs[0].render()
        return np.asarray(drawn)

    @property
    def frames_per_second(self) -> float:
        """How many of its steps are one second, by what the environment says of itself; 30 where it
        says nothing.
        """
        assert isinstance(self.inside, InTurn)
        return float(self.inside.envs[0].metadata.get("render_fps") or 30)

    def state_dict(self) -> dict[str, Any]:
        state = {"seed": self.seed, "begun": self.begun}
        if not self.restorable:
            return state
        assert isinstance(self.inside, InTurn)
        envs = [state_of(env) for env in self.inside.envs]
        return {**state, "obs": self.obs, "over": self.inside.over.copy(), "envs": envs}

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        self.seed, self.begun = state["seed"], state["begun"]
        if not self.restorable:
            self.begun += 1
            return self._begin()
        assert isinstance(self.inside, InTurn)
        for env, saved in zip(self.inside.envs, state["envs"], strict=True):
            bring_back(env, saved)
        self.inside.over[:] = state["over"]
        self.obs = state["obs"]
        return self.obs

    def close(self) -> None:
        """Ends what the environments hold: windows, processes."""
        self.inside.close()
