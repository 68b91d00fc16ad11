"""Which worlds of text there are, and which of them a name says."""

from __future__ import annotations

import re

from fledge.errors import UserError
from fledge.tasks.worlds.household import HOUSEHOLD
from fledge.tasks.worlds.shell import SHELL
from fledge.tasks.worlds.shop import SHOP
from fledge.tasks.worlds.world import World, WorldTask

WORLDS: dict[str, World] = {world.name: world for world in (HOUSEHOLD, SHELL, SHOP)}


def list_levels(name: str) -> list[str]:
    """household:1-3 as its three levels; another name as it is. Raises UserError for levels that
    there are none of.
    """
    said = re.fullmatch(r"(\w+):(\d+)-(\d+)", name)
    if said is None or said[1] not in WORLDS:
        return [name]
    first, last, levels = int(said[2]), int(said[3]), WORLDS[said[1]].levels
    if not 1 <= first <= last <= levels:
        raise UserError(
            f"{name!r} names no levels of {said[1]}: it has 1 to {levels}, the lower one first, "
            f"such as {said[1]}:1-{levels}."
        )
    return [f"{said[1]}:{level}" for level in range(first, last + 1)]


def make_world(name: str, seed: int) -> WorldTask | None:
    """The world and the level that a name such as household:2 says, level 1 of a bare name; None
    where it names no world. Raises UserError for a level that there is none of.
    """
    word, _, level = name.partition(":")
    if word not in WORLDS:
        return None
    world = WORLDS[word]
    if level and not (level.isdecimal() and 1 <= int(level) <= world.levels):
        raise UserError(
            f"{name!r} names no level of {word}: it has 1 to {world.levels}, such as {word}:2, or "
            f"{word}:1-{world.levels} for all of them."
        )
    return WorldTask(name, world, int(level or 1), seed)
