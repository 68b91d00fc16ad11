"""The whole state of one gymnasium environment, where it is known what that is: classic control and
MuJoCo.

Everything that the next step depends on is here: of a MuJoCo body also the positions of its parts
as the last substep left them, which some rewards take as "before".
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np


def is_known(env: gymnasium.Env) -> bool:
    """Whether `state_of` has all of it: for gymnasium's own classes, under nothing but the wrappers
    that `make` puts on.
    """
    from gymnasium.wrappers import OrderEnforcing, TimeLimit

    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, OrderEnforcing | TimeLimit):
            return False
        env = env.env
    return type(env).__module__.startswith(
        ("gymnasium.envs.classic_control.", "gymnasium.envs.mujoco.")
    )


def state_of(env: gymnasium.Env) -> dict[str, Any]:
    """Numbers and arrays. The environment has been reset at least once."""
    inside: Any = env.unwrapped
    limit = _time_limit(env)
    state = {
        "generator": inside.np_random.bit_generator.state,
        "elapsed": None if limit is None else limit._elapsed_steps,
    }
    if not hasattr(inside, "data"):
        return {**state, "state": np.array(inside.state)}
    mujoco = importlib.import_module("mujoco")
    kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
    row = np.empty(mujoco.mj_stateSize(inside.model, kind))
    mujoco.mj_getState(inside.model, inside.data, row, kind)
    return {
        **state,
        "state": row,
        "bodies": inside.data.xpos.copy(),
        "masses": inside.data.xipos.copy(),
    }


def bring_back(env: gymnasium.Env, state: Mapping[str, Any]) -> None:
    """`env`, of the same world, goes on where `state_of` was taken."""
    env.reset()
    inside: Any = env.unwrapped
    inside.np_random.bit_generator.state = state["generator"]
    limit = _time_limit(env)
    if limit is not None:
        limit._elapsed_steps = state["elapsed"]
    if not hasattr(inside, "data"):
        inside.state = state["state"].copy()
        return
    mujoco = importlib.import_module("mujoco")
    mujoco.mj_setState(
        inside.model, inside.data, state["state"], mujoco.mjtState.mjSTATE_INTEGRATION.value
    )
    inside.data.xpos[:], inside.data.xipos[:] = state["bodies"], state["masses"]


def _time_limit(env: gymnasium.Env) -> Any:
    """The wrapper that counts steps, None where there is none."""
    from gymnasium.wrappers import TimeLimit

    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TimeLimit):
            return env
        env = env.env
    return None
