"""The file of a walk: its map, things, path, and what may be wanted and believed, all checked."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.knowledge import Knowledge, list_knowledge
from fledge.plan.minds.scene_file import SceneFile, is_finite
from fledge.plan.minds.sight import find_visible
from fledge.plan.minds.walk_scene import ACTS, Named, WalkScene
from fledge.worlds.gridworld import MOVES

MOST_ORDERS = 720  # of six things
WALL, WATER, BUSH, FLOOR, START = "#", "=", "%", ". ", "S"
FIELDS = (
    "map", "things", "path", "places", "worth", "wants", "beliefs", "rationality", "step_cost",
    "gamma", "change", "sight", "helper",
)  # fmt: skip


def read_walk(file: SceneFile) -> WalkScene:
    """Raises UserError, naming field, line or action, for a scene that is none."""
    file.check_names(FIELDS)
    rows = read_rows(file)
    things = tuple(file.names("things"))
    floor = torch.tensor([[sign not in WALL + WATER for sign in row] for row in rows])
    hides = torch.tensor([[sign in WALL + BUSH for sign in row] for row in rows])
    number = torch.where(floor, floor.flatten().cumsum(0).view(floor.shape) - 1, -1)
    starts = [(i, j) for i, row in enumerate(rows) for j, sign in enumerate(row) if sign == START]
    if len(starts) != 1:
        raise UserError(
            f"the map of {file.name} has {len(starts)} starts: mark one place with S, where the "
            "walk begins."
        )
    at = {
        sign: (i, j) for i, row in enumerate(rows) for j, sign in enumerate(row)
        if sign not in WALL + WATER + BUSH + FLOOR + START
    }  # fmt: skip
    places = tuple(sorted(at))
    if not places:
        raise UserError(
            f"the scene {file.name} has no goal: draw a small letter on the map for each place "
            "where something may stand."
        )
    truth = read_truth(file, places, things)
    spot = torch.tensor([int(number[at[place]]) for place in places])
    after = find_moves(number)
    start = int(number[starts[0]])
    check_reached(file.name, places, spot, after, start)
    corners = floor.nonzero()
    seen = torch.tensor([at[place] for place in places])
    reach = file.number("sight", 1e9, 0.0)
    knowledge = list_knowledge(len(places), len(things))
    scene = WalkScene(
        file.title, tuple(rows), floor, places, things, spot, truth,
        find_visible(corners, seen, hides, reach), after, start, read_path(file), knowledge,
        read_wants(file, things), read_beliefs(file, places, things, knowledge),
        read_rationality(file), file.number("step_cost", 0.1, 0.0),
        file.number("gamma", 0.99, 0.0, 0.9999), file.number("change", 0.0, 0.0, 1.0),
    )  # fmt: skip
    scene.follow()
    return scene


def read_rows(file: SceneFile) -> list[str]:
    """The map's lines, all equally long."""
    lines = file.text("map").splitlines()
    while lines and not lines[0].strip():
        lines.pop(0)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UserError(f"the map of {file.name} is empty: draw one with '.', '#', 'S' and 'a'.")
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if len(line) != len(lines[0]):
            raise UserError(
                f"line {number} of the map has {len(line)} columns, line 1 has {len(lines[0])}: "
                "draw all lines equally long."
            )
        for column, sign in enumerate(line, 1):
            place = sign.isalpha() and sign.islower()
            if not place and sign not in WALL + WATER + BUSH + FLOOR + START:
                raise UserError(
                    f"line {number}, column {column} of the map is {sign!r}: give '.' (floor), '#' "
                    "(wall), '=' (stops, hides nothing), '%' (hides, stops nobody), 'S' (start) or "
                    "a small letter (a place)."
                )
            if place and sign in seen:
                raise UserError(f"the place {sign} is on the map twice: give each its own letter.")
            seen |= {sign} if place else set()
    return lines


def find_moves(number: Tensor) -> Tensor:
    """Where up, right, down, left and stay lead; a wall leaves one where one is.  -> [5, S]"""
    H, W = number.shape
    edged = torch.full((H + 2, W + 2), -1)
    edged[1:-1, 1:-1] = number
    own = number[number >= 0]
    there = [edged[1 + i : 1 + i + H, 1 + j : 1 + j + W][number >= 0] for i, j in MOVES]
    return torch.stack([*(torch.where(x < 0, own, x) for x in there), own])


def check_reached(
    scene: str, places: Sequence[str], spot: Tensor, after: Tensor, start: int
) -> None:
    """Raises UserError for a place to which no way leads."""
    reached = torch.zeros(after.shape[1], dtype=torch.bool)
    reached[start] = True
    while True:
        further = reached.clone()
        further[after[:, reached].flatten()] = True
        if torch.equal(further, reached):
            break
        reached = further
    for place, where in zip(places, spot.tolist(), strict=True):
        if not reached[where]:
            raise UserError(
                f"no way leads from S to the place {place} in {scene}: open one, or leave the "
                "place out."
            )


def read_truth(file: SceneFile, places: Sequence[str], things: Sequence[str]) -> Tensor:
    """What stands in each place; nothing where it is not said."""
    table = file.table("places")
    for place, thing in table.items():
        if place not in places:
            raise UserError(
                f"[places] of {file.name} names {place!r}, which is not on the map: there are "
                f"{', '.join(places)}."
            )
        if thing not in (*things, "nothing"):
            raise UserError(
                f"[places] of {file.name} has {thing!r} at {place}: give one of "
                f"{', '.join(things)}, nothing."
            )
    standing = [thing for thing in table.values() if thing != "nothing"]
    if not standing:
        raise UserError(
            f"the scene {file.name} has no goal: say in [places] what stands where, such as "
            f'{places[0]} = "{things[0]}".'
        )
    for thing in things:
        if standing.count(thing) > 1:
            raise UserError(f"{thing} stands in two places of {file.name}: a thing is in one.")
    order = ("nothing", *things)
    return torch.tensor([order.index(table.get(place, "nothing")) for place in places])


def read_path(file: SceneFile) -> tuple[int, ...]:
    """`right 3 up take`: a number repeats the word before it."""
    path: list[int] = []
    words = re.split(r"[\s,]+", file.text("path").strip())
    for before, word in zip(["", *words], words, strict=False):
        if word in ACTS:
            path.append(ACTS.index(word))
        elif word.isdecimal() and before in ACTS and 1 <= int(word) <= 1000:
            path += [ACTS.index(before)] * (int(word) - 1)
        elif word:
            raise UserError(
                f"the path of {file.name} has the word {word!r}: give {', '.join(ACTS)}, and after "
                "one a number from 1 to 1000 that repeats it, such as `right 3 up take`."
            )
    if not path:
        raise UserError(
            f"the path of {file.name} is empty: say what was done, such as `right 3 up take`."
        )
    return tuple(path)


def read_wants(file: SceneFile, things: tuple[str, ...]) -> tuple[Named, ...]:
    """Those that are named, or all orders of the things, worth what `worth` says."""
    table = file.table("wants")
    if table:
        return scale([
            Named(name, *read_weights(file, "wants", name, given, things, 0.0))
            for name, given in table.items()
        ])  # fmt: skip
    worth = file.fields.get("worth", [10.0, 6.0, 2.0][: len(things)])
    if (
        not isinstance(worth, list)
        or not 0 < len(worth) <= len(things)
        or not all(map(is_finite, worth))
    ):
        raise file.wrong("worth", f"a list of 1 to {len(things)} numbers, the best thing's first")
    ways = math.perm(len(things), len(worth))
    if ways > MOST_ORDERS:
        raise UserError(
            f"{len(things)} things can be wanted in {ways:,} orders: name those that you mean in "
            "[wants]."
        )
    orders = []
    for order in itertools.permutations(range(len(things)), len(worth)):
        value = [0.0] * len(things)
        for thing, number in zip(order, worth, strict=True):
            value[thing] = float(number)
        orders.append(Named(" > ".join(things[i] for i in order), 1.0, tuple(value)))
    return scale(orders)


def read_beliefs(
    file: SceneFile, places: tuple[str, ...], things: tuple[str, ...], knowledge: Knowledge
) -> tuple[Named, ...]:
    """Weights of things place by place, as chances of arrangements; even where nothing is said."""
    order = ("nothing", *things)
    beliefs = []
    for name, given in (file.table("beliefs") or {"whatever may be there": {}}).items():
        if not isinstance(given, dict) or not given.keys() <= {*places, "chance"}:
            raise UserError(
                f"the belief {name!r} of {file.name} is {given!r}: give weights by place, such as "
                f"{{ {places[0]} = {{ {things[0]} = 5 }} }}; places are {', '.join(places)}."
            )
        weights = torch.ones(len(places), len(order), dtype=torch.float64)
        for row, place in enumerate(places):
            if place in given:
                _, numbers = read_weights(file, "beliefs", name, given[place], order, 1.0)
                weights[row] = torch.tensor(numbers)
        if bool((weights < 0).any()):
            raise UserError(f"the belief {name!r} of {file.name} has a weight below 0.")
        each = weights.gather(1, knowledge.arrangements.T).prod(0)
        if not float(each.sum()) > 0:
            raise UserError(
                f"the belief {name!r} of {file.name} leaves no way in which things could stand, "
                "each in one place: give more of them a weight above 0."
            )
        chance, _ = read_weights(file, "beliefs", name, {"chance": given.get("chance", 1)}, (), 1)
        beliefs.append(Named(name, chance, tuple((each / each.sum()).tolist())))
    return scale(beliefs)


def read_weights(
    file: SceneFile, table: str, name: str, given: Any, known: Sequence[str], otherwise: float
) -> tuple[float, tuple[float, ...]]:
    """`{ Korean = 10, chance = 2 }`: the chance, 1 if it is not said, and a number for each."""
    if (
        not isinstance(given, dict)
        or not given.keys() <= {*known, "chance"}
        or not all(map(is_finite, given.values()))
        or not given.get("chance", 1) > 0
    ):
        raise UserError(
            f"{name!r} in [{table}] of {file.name} is {given!r}: give a number for some of "
            f"{', '.join(known) or 'its names'}, and a chance above 0 where one is likelier."
        )
    return float(given.get("chance", 1)), tuple(float(given.get(x, otherwise)) for x in known)


def read_rationality(file: SceneFile) -> tuple[float, ...]:
    """β: one or several, above 0, `inf` for who never errs."""
    given = file.fields.get("rationality", [2.0])
    listed = given if isinstance(given, list) else [given]
    for each in listed:
        if isinstance(each, bool) or not isinstance(each, int | float) or not each > 0:
            raise file.wrong("rationality", "numbers above 0, such as [0.5, 2], or inf")
    if not listed:
        raise file.wrong("rationality", "one or more numbers above 0")
    return tuple(map(float, listed))


def scale(listed: Sequence[Named]) -> tuple[Named, ...]:
    """Chances that add up to 1."""
    total = sum(each.chance for each in listed)
    return tuple(Named(each.name, each.chance / total, each.numbers) for each in listed)
