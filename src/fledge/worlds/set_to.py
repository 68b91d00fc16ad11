"""Copies of a world that go on from whatever was seen: of those whose observation says all of their
state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from fledge.errors import UserError
from fledge.worlds.batched_cartpole import BatchedCartPole
from fledge.worlds.mdp_world import MDPWorld
from fledge.worlds.units import InUnits
from fledge.worlds.world import World


def _turn(obs: np.ndarray) -> np.ndarray:
    """Pendulum: cosine, sine and rate of one angle."""
    return np.array([np.arctan2(obs[1], obs[0]), obs[2]])


def _turn_twice(obs: np.ndarray) -> np.ndarray:
    """Acrobot: cosine and sine of two angles, and their rates."""
    return np.array([np.arctan2(obs[1], obs[0]), np.arctan2(obs[3], obs[2]), obs[4], obs[5]])


# gymnasium's classic control: from what is observed to the state inside, in float64
READ_STATE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Pendulum-v1": _turn,
    "Acrobot-v1": _turn_twice,
    "MountainCar-v0": np.array,
    "MountainCarContinuous-v0": np.array,
}


def can_be_set(world: World) -> bool:
    """Whether `set_to` brings copies of it to where an observation was made."""
    inner: Any = world.world if isinstance(world, InUnits) else world
    if isinstance(inner, MDPWorld):
        return inner.sign is None
    return isinstance(inner, BatchedCartPole) or inner.name in READ_STATE


def set_to(world: World, obs: Tensor) -> None:
    """Every copy goes on from its own observation, with all of its time before it.  [n, *O]

    Raises UserError for a world whose observations do not say its state.
    """
    inner: Any = world.world if isinstance(world, InUnits) else world
    if not can_be_set(inner):
        raise UserError(
            f"{inner.name} cannot be set to what was seen in it, so that no planner can look ahead "
            "in the world itself: leave model=true out, and every planner works in the learned one."
        )
    seen = obs.double().numpy()
    if isinstance(inner, MDPWorld):
        inner.state, inner.seen = obs.numpy().copy(), obs.numpy().copy()
        inner.elapsed[:] = 0
        inner.over = inner.terminal[inner.state]
    elif isinstance(inner, BatchedCartPole):
        inner.state[:], inner.over[:], inner.elapsed[:] = seen.T, False, 0
    else:
        for env, own in zip(inner.inside.envs, seen, strict=True):
            env.reset()
            env.unwrapped.state = READ_STATE[inner.name](own)
        inner.inside.over[:] = False
