"""Finds a world by its name: fledge's own first, then whatever gymnasium has, then the nearest name
as advice.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fledge.errors import UserError
from fledge.user_code import FROM_PYTHON
from fledge.worlds.batched_cartpole import BatchedCartPole
from fledge.worlds.drawn_world import draw_cartpole, draw_map
from fledge.worlds.gridworld import CLASSIC, Gridworld, read_gridworld
from fledge.worlds.hard_to_explore import RIVER_STEPS, deep_sea, river_swim
from fledge.worlds.mdp_world import MDPWorld
from fledge.worlds.mujoco_batch import BODIES, MujocoBatch
from fledge.worlds.units import put_in_units
from fledge.worlds.words_world import WordsWorld
from fledge.worlds.world import World

if TYPE_CHECKING:
    from fledge.worlds.own import WorldMaker

GRID_GAMMA, GRID_STEPS = 0.99, 200  # of a gridworld made by its name


def gridworld(map_file: str | None, copies: int) -> World:
    """The classic 4 × 3 map, or one drawn in a text file.

    Raises UserError for a file that is not there, is no map, or has no exit that can be reached.
    """
    name = "gridworld" if map_file is None else f"gridworld:{map_file}"
    return MDPWorld(read_map(map_file).mdp(), copies, time_limit=GRID_STEPS, name=name)


def read_map(map_file: str | None) -> Gridworld:
    """Raises UserError as `gridworld` does."""
    text, name = CLASSIC, "gridworld"
    if map_file is not None:
        name = f"gridworld:{map_file}"
        try:
            text = Path(map_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"the map {map_file} cannot be read ({error}): give a text file with '.', '#', "
                "'S', '+' and '-'."
            ) from error
    grid = read_gridworld(text, gamma=GRID_GAMMA)
    if not grid.exit_is_reached():
        raise UserError(
            f"no way leads from a start to an exit on the map of {name}: nothing but time would "
            "end an episode, and all would earn the same. Draw an exit that can be reached: '+' "
            "pays 1, '-' costs 1, digits pay themselves."
        )
    return grid


def drawn(rest: str, copies: int) -> World:
    """Raises UserError for a world that is not drawn."""
    if rest == "CartPole-v1":
        return draw_cartpole(copies)
    name, _, map_file = rest.partition(":")
    if name == "gridworld":
        world = gridworld(map_file or None, copies)
        assert isinstance(world, MDPWorld)
        return draw_map(read_map(map_file or None), world)
    raise UserError(
        f"world=drawn:{rest} was given: drawn:CartPole-v1, drawn:gridworld and "
        "drawn:gridworld:MAP.txt are drawn."
    )


def swim(copies: int) -> World:
    return MDPWorld(river_swim(GRID_GAMMA), copies, time_limit=RIVER_STEPS, name="river_swim")


def dive(depth: str, copies: int) -> World:
    """Raises UserError for what is no depth."""
    if not depth.isdecimal():
        raise UserError(f"world=deep_sea:{depth} was given: say how deep, such as deep_sea:10.")
    return MDPWorld(deep_sea(int(depth), GRID_GAMMA), copies, name=f"deep_sea:{int(depth)}")


# A world of ours that bears one of gymnasium's names is that world, faster.
OWN: dict[str, Callable[[int], World]] = {
    "CartPole-v1": BatchedCartPole,
    "gridworld": lambda copies: gridworld(None, copies),
    "river_swim": swim,
    **{
        name: (lambda copies, name=name: put_in_units(MujocoBatch(name, copies))) for name in BODIES
    },
}
# Worlds whose name goes on after a colon, and what to make of the rest.
FAMILIES: dict[str, Callable[[str, int], World]] = {
    "words": WordsWorld, "gridworld": gridworld, "deep_sea": dive, "drawn": drawn,
}  # fmt: skip


def name_of(given: Any) -> str:
    """What a world is called that was given by its name, as a factory, or as one environment."""
    if isinstance(given, str):
        return given
    kind = given if hasattr(given, "__qualname__") else type(given)
    return f"{FROM_PYTHON}{kind.__module__}.{kind.__qualname__}"


def make_world(given: str | WorldMaker, copies: int, *, processes: bool = False) -> World:
    """`copies` of a world by its name: "CartPole-v1", "Hopper-v5", "ALE/Pong-v5", "gridworld",
    "words:reverse", "my_module:Mine-v0", "./mine.py:World"; or of your own environment of
    gymnasium: its class, a function that makes one, or one that is copied.

    Actions of numbers are told in units of their bounds (`units.put_in_units`). processes: each
    copy in a process of its own, for environments of gymnasium whose step takes more than half a
    millisecond.

    Raises UserError for a name that nobody has (with the nearest one), a missing extra (with how to
    install it), spaces that are not supported, and fewer than one copy.
    """
    name = name_of(given)
    if copies < 1:
        raise UserError(f"{copies} copies of {name} were asked for: 1 or more are possible.")
    if name in OWN and not processes:
        return OWN[name](copies)
    family, colon, rest = name.partition(":")
    if colon and family in FAMILIES:
        return FAMILIES[family](rest, copies)
    # Here, and not above: the worlds of ours do without gymnasium, which takes half a second to
    # load.
    try:
        from gymnasium.error import Error

        from fledge.worlds.gym import GymWorld
    except ImportError as error:
        raise UserError(
            f"the world {name} is gymnasium's, which is not here ({error}): pip install gymnasium"
        ) from error
    if given == name and name.startswith(FROM_PYTHON):
        raise UserError(
            f"the world {name} was given as an object in Python: only there can it be given again, "
            "as in fledge.resume(RUN, world=…)."
        )
    maker = None if isinstance(given, str) else given
    try:
        return put_in_units(GymWorld(name, copies, processes=processes, maker=maker))
    except Error as error:
        raise explain_unknown(name, error) from error


def explain_unknown(name: str, error: Exception) -> UserError:
    """The sentence about a name that gymnasium does not have."""
    from gymnasium import registry

    module, colon, own = name.rpartition(":")
    latest: dict[str, str] = {family.lower(): f"{family}:…" for family in FAMILIES}
    for known in sorted([*OWN, *registry], key=read_version):
        latest[strip_version(known)] = known
    near = difflib.get_close_matches(strip_version(own), latest, n=1)
    if near:
        return UserError(
            f"there is no world {name!r}: perhaps you meant {module}{colon}{latest[near[0]]}."
        )
    return UserError(
        f"there is no world {name!r} ({error}): give the name of one that gymnasium has, such as "
        "CartPole-v1."
    )


def strip_version(name: str) -> str:
    """A name without its version, in lower case."""
    return re.sub(r"-v\d+$", "", name).lower()


def read_version(name: str) -> int:
    """The number after -v, 0 where there is none."""
    ending = re.search(r"-v(\d+)$", name)
    return int(ending[1]) if ending else 0
