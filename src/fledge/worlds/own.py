"""Environments that the user wrote: in a file (`./mine.py:World`), as a class or another factory,
or one that is made already.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium

from fledge.errors import UserError
from fledge.user_code import load_module, tell_as
from fledge.worlds.gym_copies import describe_failure

# What makes an environment, or one that is copied for every copy of the world. A factory may take
# `render_mode`.
WorldMaker = Callable[..., gymnasium.Env] | gymnasium.Env


def split_file_name(name: str) -> tuple[Path, str] | None:
    """The file and what is asked of it, of a name such as `./mine.py:World`; None for any other
    name.
    """
    path, colon, wanted = name.rpartition(":")
    return (Path(path), wanted) if colon and path.endswith(".py") else None


def load_from_file(path: Path, wanted: str) -> WorldMaker:
    """Raises UserError for a file that cannot be read or raises, and one that has no such
    environment in it.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        changed = 0  # `load_module` says what is wrong with it
    module = _module(path, changed)
    if not hasattr(module, wanted):
        kinds = [name for name, held in vars(module).items() if _is_own_class(held, module)]
        hint = (
            f"perhaps you meant {path}:{kinds[0]}"
            if kinds
            else "write a class of gymnasium.Env there"
        )
        raise UserError(f"{path} has nothing called `{wanted}`: {hint}.")
    return getattr(module, wanted)


@lru_cache(maxsize=8)
def _module(path: Path, changed: int) -> ModuleType:
    """Loaded once for all copies, and anew when the file has changed."""
    return load_module(path)


def _is_own_class(held: Any, module: ModuleType) -> bool:
    return (
        isinstance(held, type)
        and issubclass(held, gymnasium.Env)
        and held.__module__ == module.__name__
    )


def make_own(maker: WorldMaker, name: str, pictures: bool = False) -> gymnasium.Env:
    """One environment. `pictures`: drawn as RGB, where the factory takes a `render_mode`.

    Raises UserError where the factory raises, makes something else, or an instance cannot be
    copied.
    """
    if isinstance(maker, gymnasium.Env):
        where = "as it was copied; give its class, or a function that makes one,"
        with tell_as(lambda error: describe_failure(name, where, error)):
            return copy.deepcopy(maker)
    if not callable(maker):
        raise UserError(
            f"{name} is a {type(maker).__name__}: an environment of gymnasium, or what makes one, "
            "was wanted."
        )
    draws = pictures and _takes_render_mode(maker)
    with tell_as(lambda error: describe_failure(name, "as it was made", error)):
        environment = maker(render_mode="rgb_array") if draws else maker()
    if not isinstance(environment, gymnasium.Env):
        raise UserError(
            f"{name} made a {type(environment).__name__}, and an environment of gymnasium was "
            "wanted: let it be a class of gymnasium.Env, or a function that returns one."
        )
    return environment


def _takes_render_mode(maker: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):  # a class that is written in C
        return False
    return any(each.name == "render_mode" or each.kind is each.VAR_KEYWORD for each in parameters)
