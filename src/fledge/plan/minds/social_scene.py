"""A scene of kind `social`: two who walk on one map, and the question whether the first helps,
hinders or does not care.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.evidence import Evidence, Stage
from fledge.plan.minds.scene_file import SceneFile, is_finite
from fledge.plan.minds.social_plan import MOVES, Pair, plan_pair
from fledge.plan.minds.walk_file import find_moves, read_rationality
from fledge.plan.minds.walk_scene import ACTS

FIELDS = (
    "map", "names", "path", "other_path", "weights", "goals", "other_goals", "rationality", "worth",
    "step_cost", "gamma",
)  # fmt: skip
WALL, GATE, PLATE, NOBODY = "#", "|", "_", "nothing"


def read_social(file: SceneFile) -> Evidence:
    """Raises UserError, naming field, line or action, for a scene that is none."""
    file.check_names(FIELDS)
    rows = read_rows(file)
    floor = torch.tensor([[sign != WALL for sign in row] for row in rows])
    number = torch.where(floor, floor.flatten().cumsum(0).view(floor.shape) - 1, -1)
    signs = [sign for row in rows for sign in row if sign != WALL]
    starts = [find_start(file, signs, sign, whose) for sign, whose in (("S", "first"),
                                                                       ("T", "other"))]  # fmt: skip
    letters = sorted(sign for sign in signs if sign.isalpha() and sign.islower())
    places = {letter: signs.index(letter) for letter in letters}
    if not places:
        raise UserError(
            f"the scene {file.name} has no goal: draw a small letter on the map for each place "
            "where somebody may want to be."
        )
    gate = torch.tensor([sign == GATE for sign in signs])
    plate = torch.tensor([sign == PLATE for sign in signs])
    after = find_moves(number)
    names = ["the first", "the other"] if "names" not in file.fields else file.names("names")
    if len(names) != 2:
        raise file.wrong("names", 'two names, such as ["Robin", "Sam"]')
    weights = file.fields.get("weights", [-1, 0, 1])
    if (
        not isinstance(weights, list) or not weights or not all(map(is_finite, weights))
        or len(set(weights)) < len(weights)
    ):  # fmt: skip
        raise file.wrong("weights", "a list of different numbers, such as [-1, 0, 1]")
    goals = {name: read_goals(file, name, places) for name in ("goals", "other_goals")}
    for start, listed, whose in zip(starts, goals.values(), names, strict=True):
        check_reached(file, after, gate, plate, start, listed, whose)
    pair = Pair(
        after, gate, plate, tuple(goals["goals"].values()), tuple(goals["other_goals"].values()),
        tuple(map(float, weights)), read_rationality(file), file.number("worth", 1.0, 0.0),
        file.number("step_cost", 0.1, 0.0), file.number("gamma", 0.9, 0.0, 0.99),
    )  # fmt: skip
    path, other_path = (read_path(file, name) for name in ("path", "other_path"))
    if len(path) != len(other_path):
        raise UserError(
            f"the two paths of {file.name} have {len(path)} and {len(other_path)} moves, and they "
            "take turns: give both as many; who waits stays."
        )
    return weigh_pair(file, pair, goals, names, starts, (path, other_path), rows, floor)


def weigh_pair(
    file: SceneFile, pair: Pair, goals: Mapping[str, Mapping[str, int]], names: list[str],
    starts: list[int], paths: tuple[list[int], list[int]], rows: list[str], floor: Tensor,
) -> Evidence:  # fmt: skip
    planned = plan_pair(pair)
    first, other = starts
    steps, seen, at = [], [], [(first, other)]
    for act, answer in zip(*paths, strict=True):
        likely = planned.log_policy(first, other)[:, act]
        first = int(planned.lead[first, other, act])
        steps.append(likely + planned.other_log_policy(first, other)[:, answer])
        other = int(planned.lead[other, first, answer])
        seen.append(f"{names[0]} {ACTS[act]}, {names[1]} {ACTS[answer]}")
        at.append((first, other))
    shape = (len(pair.goals), len(pair.weights), len(pair.other_goals), len(pair.rationality))
    M = torch.Size(shape).numel()
    each = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).flatten(1)
    weight = torch.tensor(pair.weights, dtype=torch.float64)[each[1]]
    sums: dict[str, Mapping[str, Tensor]] = {
        "relationship": {
            "helps": (weight > 0).double(), "indifferent": (weight == 0).double(),
            "hinders": (weight < 0).double(),
        },
        f"{names[0]} wants": {x: (each[0] == i).double() for i, x in enumerate(goals["goals"])},
        f"{names[1]} wants": {
            x: (each[2] == i).double() for i, x in enumerate(goals["other_goals"])
        },
        "expected weight": {f"of {names[1]} to {names[0]}": weight},
    }  # fmt: skip
    if len(pair.rationality) > 1:
        sums["rationality"] = {
            f"{b:g}": (each[3] == i).double() for i, b in enumerate(pair.rationality)
        }
    likely = planned.log_policy(first, other).exp()
    asked = {f"{names[0]} {ACTS[act]} next": likely[:, act] for act in range(MOVES)}
    corners = [(i, j) for i, j in floor.nonzero().tolist()]
    stage = Stage(tuple(rows), [(corners[i], corners[j]) for i, j in at])
    about = (
        f"{M} minds planned over {len(corners)} × {len(corners)} places of two, {len(seen)} turns"
    )
    prior = torch.full((M,), 1 / M, dtype=torch.float64)
    return Evidence(prior, seen, torch.stack(steps), sums, about, asked=asked, stage=stage)


def read_rows(file: SceneFile) -> list[str]:
    rows = [line for line in file.text("map").splitlines() if line.strip()]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise file.wrong("map", "a map whose lines are equally long")
    seen: set[str] = set()
    for line, row in enumerate(rows, 1):
        for column, sign in enumerate(row, 1):
            place = sign.isalpha() and sign.islower()
            if not place and sign not in f"{WALL}{GATE}{PLATE}. ST":
                raise UserError(
                    f"line {line}, column {column} of the map is {sign!r}: give '.' (floor), '#' "
                    "(wall), '|' (gate), '_' (plate), 'S' and 'T' (where the first and the other "
                    "begin) or a small letter (a place)."
                )
            if place and sign in seen:
                raise UserError(f"the place {sign} is on the map twice: give each its own letter.")
            seen |= {sign} if place else set()
    return rows


def find_start(file: SceneFile, signs: list[str], sign: str, whose: str) -> int:
    if signs.count(sign) != 1:
        raise UserError(
            f"the map of {file.name} has {signs.count(sign)} places {sign}: mark one, where the "
            f"{whose} begins."
        )
    return signs.index(sign)


def read_goals(file: SceneFile, name: str, places: Mapping[str, int]) -> dict[str, int]:
    """By name the place, −1 for who wants nothing; all places where none are said."""
    given = [*places] if name not in file.fields else file.names(name)
    for each in given:
        if each not in (*places, NOBODY):
            raise file.wrong(name, f"a list of some of {', '.join(places)}, {NOBODY}")
    return {each: places.get(each, -1) for each in given}


def check_reached(
    file: SceneFile, after: Tensor, gate: Tensor, plate: Tensor, start: int,
    goals: Mapping[str, int], whose: str,
) -> None:  # fmt: skip
    """Raises UserError for a goal to which no way leads, gates open where there is a plate."""
    stops = gate & ~plate.any()
    reached = torch.zeros(after.shape[1], dtype=torch.bool)
    reached[start] = True
    for _ in range(after.shape[1]):
        further = reached.clone()
        further[after[:, reached].flatten()] = True
        reached = further & ~stops
    for name, place in goals.items():
        if place >= 0 and not reached[place]:
            raise UserError(
                f"no way leads {whose} to the place {name} in {file.name}: open one, or leave it "
                "out of the goals."
            )


def read_path(file: SceneFile, name: str) -> list[int]:
    path: list[int] = []
    words = re.split(r"[\s,]+", file.text(name).strip())
    for before, word in zip(["", *words], words, strict=False):
        if word in ACTS[:MOVES]:
            path.append(ACTS.index(word))
        elif word.isdecimal() and before in ACTS[:MOVES] and 1 <= int(word) <= 1000:
            path += [ACTS.index(before)] * (int(word) - 1)
        else:
            raise UserError(
                f"{name} of {file.name} has the word {word!r}: give {', '.join(ACTS[:MOVES])}, and "
                "after one a number from 1 to 1000 that repeats it, such as `right 3 up`."
            )
    return path
