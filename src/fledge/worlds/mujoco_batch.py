"""MuJoCo's simpler bodies in gymnasium (HalfCheetah, Hopper, Walker2d, Swimmer, InvertedPendulum,
all v5), n copies in one call.

The model files are gymnasium's, and the stepping is `mujoco.batch`, which keeps a row of state for
each copy and shares the copies out among threads. Observation, reward and end are arithmetic over
those rows; a test holds every world to gymnasium's own, bit for bit. Ant and the humanoids observe
forces that are no part of the state: they are left to `worlds.gym`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.world import Box, Space, Step

LONGEST = 1000  # steps
WANTED = (
    "MuJoCo 4 or later, for its `mujoco.batch`, and gymnasium: pip install 'fledge[mujoco]', or -e "
    "'.[mujoco]' in a clone"
)


@dataclass(frozen=True)
class Body:
    """How gymnasium shows one model and what it pays: forward · velocity + alive · (all is in
    range) − effort · Σ action².
    """

    file: str
    substeps: int  # of the simulation, for one of ours
    noise: float  # of the start
    normal_speeds: bool = False  # whether speeds at the start are normal, not uniform
    hidden: int = 1  # so many coordinates are not shown: where it is must not matter
    fastest: float = np.inf  # speeds are shown cut to ± this
    forward: float = 1.0
    alive: float = 0.0
    effort: float = 0.0
    # Of a coordinate, by its number: outside of it, or on its edge, the episode ends.
    range: dict[int, tuple[float, float]] = field(default_factory=dict)
    widest: float = np.inf  # the same ± for every coordinate and speed from the third on


BODIES = {
    "HalfCheetah-v5": Body("half_cheetah.xml", 5, 0.1, normal_speeds=True, effort=0.1),
    "Hopper-v5": Body(
        "hopper.xml",
        4,
        5e-3,
        fastest=10,
        alive=1.0,
        effort=1e-3,
        range={1: (0.7, np.inf), 2: (-0.2, 0.2)},
        widest=100,
    ),
    "Walker2d-v5": Body(
        "walker2d_v5.xml",
        4,
        5e-3,
        fastest=10,
        alive=1.0,
        effort=1e-3,
        range={1: (0.8, 2.0), 2: (-1.0, 1.0)},
    ),
    "Swimmer-v5": Body("swimmer.xml", 4, 0.1, hidden=2, effort=1e-4),
    "InvertedPendulum-v5": Body(
        "inverted_pendulum.xml", 2, 0.01, hidden=0, forward=0.0, alive=1.0, range={1: (-0.2, 0.2)}
    ),
}


@contextmanager
def hide_warnings() -> Iterator[None]:
    """Without what MuJoCo says of gymnasium's model files as it reads them: it would go into a file
    in the user's folder.
    """
    mujoco = importlib.import_module("mujoco")
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


class MujocoBatch:
    """`copies` of one of BODIES. Actions are cut to the model's range; 1000 steps are the limit.

    Threads: as many as torch uses; the numbers do not depend on it.
    """

    restorable = True

    def __init__(self, name: str, copies: int) -> None:
        """Raises UserError where MuJoCo is missing or too old. Raises KeyError for a name that is
        not in BODIES.
        """
        try:
            gymnasium, mujoco, batch = map(
                importlib.import_module, ("gymnasium", "mujoco", "mujoco.batch")
            )
        except ImportError as error:
            raise UserError(
                f"the world {name} cannot be made ({error}): it needs {WANTED}"
            ) from error
        self.name, self.copies, self.body = name, copies, BODIES[name]
        folder = Path(str(gymnasium.__file__)).parent / "envs" / "mujoco" / "assets"
        with hide_warnings():
            model = mujoco.MjModel.from_xml_path(str(folder / self.body.file))
        self.batch = batch.Batch(model, copies, nthread=min(copies, torch.get_num_threads()))
        self.failure = batch.SimulationError
        # Views of the simulation, [n, nq], [n, nv], [n, nu]: what is written here is so.
        self.position, self.speed, self.control = map(self.batch.bind, ("qpos", "qvel", "ctrl"))
        self.pose = self.batch.state[0].copy()  # the model's own, at rest
        self.seconds = model.opt.timestep * self.body.substeps  # of a step
        self.low, self.high = model.actuator_ctrlrange.astype(np.float32).T.copy()  # [nu] each
        self.action: Space = Box(torch.from_numpy(self.low), torch.from_numpy(self.high))
        self.shown = model.nq - self.body.hidden  # coordinates
        far = torch.full((self.shown + model.nv,), torch.inf)
        self.observation: Space = Box(-far, far)
        self.generators = [np.random.default_rng() for _ in range(copies)]
        self.over = np.zeros(copies, dtype=bool)
        self.elapsed = np.zeros(copies, dtype=np.int64)

    def reset(self, seed: int) -> Tensor:
        seeds = np.random.SeedSequence(seed).generate_state(self.copies)
        self.generators = [np.random.default_rng(int(own)) for own in seeds]
        self._begin_anew(np.arange(self.copies))
        self.over[:] = False
        return self._observe()

    def step(self, action: Tensor) -> Step:
        done = action.numpy()  # [n, nu]
        if not np.isfinite(done).all():
            raise UserError(
                f"{self.name} was told {done[~np.isfinite(done).all(1)][0].tolist()}: actions are "
                "numbers, and the policy that gives others has diverged; lower its learning rate."
            )
        done = np.minimum(np.maximum(done, self.low), self.high)
        self.control[:] = done
        begins = np.flatnonzero(self.over)
        before = self.position[:, 0].copy()
        try:
            self.batch.step(~self.over if len(begins) else None, nstep=self.body.substeps)
        except self.failure as error:
            raise UserError(f"{self.name} cannot be simulated any further: {error}.") from error
        self.elapsed += 1
        reward, terminated = self._judge(before, done)
        truncated = self.elapsed >= LONGEST
        if len(begins):
            self._begin_anew(begins)
            reward[begins], terminated[begins], truncated[begins] = 0.0, False, False
        self.over = terminated | truncated
        told = map(torch.from_numpy, (reward.astype(np.float32), terminated, truncated))
        return Step(self._observe(), *told)

    def _judge(self, before: np.ndarray, done: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reward and end out of coordinate 0 before the step [n] and what was done [n, nu].  -> [n]
        float64, [n] bool
        """
        body = self.body
        healthy = np.ones(self.copies, dtype=bool)
        for place, (low, high) in body.range.items():
            healthy &= (low < self.position[:, place]) & (self.position[:, place] < high)
        if body.widest < np.inf:
            healthy &= (np.abs(self.position[:, 2:]) < body.widest).all(1) & (
                np.abs(self.speed) < body.widest
            ).all(1)
        velocity = (self.position[:, 0] - before) / self.seconds
        # The cost in float32, as gymnasium has it: its actions are.
        cost = np.float32(body.effort) * np.square(done).sum(1)
        return body.forward * velocity + body.alive * healthy - cost, ~healthy

    def _begin_anew(self, copies: np.ndarray) -> None:
        """Copies [k] start near the model's own pose, each with its own random numbers."""
        self.batch.state[copies] = self.pose
        # Gymnasium solves for the forces here already, which gives the first step a better guess
        # and no other result.
        for i in copies.tolist():
            generator, noise = self.generators[i], self.body.noise
            self.position[i] += generator.uniform(-noise, noise, self.position.shape[1])
            if self.body.normal_speeds:
                self.speed[i] += noise * generator.standard_normal(self.speed.shape[1])
            else:
                self.speed[i] += generator.uniform(-noise, noise, self.speed.shape[1])
        self.elapsed[copies] = 0

    def _observe(self) -> Tensor:
        seen = np.empty((self.copies, self.shown + self.speed.shape[1]), dtype=np.float32)
        seen[:, : self.shown] = self.position[:, self.body.hidden :]
        seen[:, self.shown :] = self.speed
        if self.body.fastest < np.inf:
            np.clip(
                seen[:, self.shown :],
                -self.body.fastest,
                self.body.fastest,
                out=seen[:, self.shown :],
            )
        return torch.from_numpy(seen)

    def state_dict(self) -> dict[str, Any]:
        return {
            "state": self.batch.state.copy(),
            "over": self.over.copy(),
            "elapsed": self.elapsed.copy(),
            "generators": [generator.bit_generator.state for generator in self.generators],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        self.batch.state[:] = state["state"]
        self.over[:], self.elapsed[:] = state["over"], state["elapsed"]
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = saved
        return self._observe()

    def close(self) -> None:
        """Ends the threads; after that nothing can be stepped."""
        for part in ("batch", "position", "speed", "control"):
            vars(self).pop(part, None)
