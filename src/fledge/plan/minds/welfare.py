"""Whose good counts how much to somebody, out of what they chose: an alternative is worth
Σ weight × good, summed over people, and the better one is taken by e^(β worth) (Kleiman-Weiner,
Saxe & Tenenbaum 2017, eq. 2; the naïve utility calculus of Jara-Ettinger, Gweon, Schulz & Tenenbaum
2016).

All weights of all people are enumerated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.evidence import Evidence
from fledge.plan.minds.planned import say_log_policy
from fledge.plan.minds.scene_file import SceneFile, is_finite
from fledge.plan.minds.walk_file import read_rationality

FIELDS = ("people", "weights", "chances", "rationality", "choices", "ask")
MOST_WAYS = 1_000_000


@dataclass(frozen=True)
class Choice:
    """good: [C, N], what each of C alternatives gives to each of N people. chose: which it was."""

    names: tuple[str, ...]
    good: Tensor
    chose: int | None


def say_log_choice(good: Tensor, weight: Tensor, beta: Sequence[float]) -> Tensor:
    """log P(alternative | weights, β).  [C, N], [W, N] -> [W · R, C]"""
    worth = weight @ good.T
    return torch.stack([say_log_policy(worth, each) for each in beta], 1).flatten(0, 1)


def read_welfare(file: SceneFile) -> Evidence:
    """Raises UserError for choices that cannot be read, and too many people."""
    file.check_names(FIELDS)
    people, beta = file.names("people"), read_rationality(file)
    levels = file.fields.get("weights", [-1, 0, 0.5, 1])
    if not isinstance(levels, list) or not levels or not all(map(is_finite, levels)):
        raise file.wrong("weights", "a list of numbers, such as [-1, 0, 0.5, 1]")
    ways = len(levels) ** len(people)
    if ways * len(beta) > MOST_WAYS:
        raise UserError(
            f"{len(people)} people of {len(levels)} weights can be in {ways:,} ways, of which "
            f"{MOST_WAYS // len(beta):,} can be enumerated: give fewer of either."
        )
    choices = read_choices(file, "choices", people, chosen=True)
    asked = read_choices(file, "ask", people, chosen=False) if "ask" in file.fields else []
    grid = torch.cartesian_prod(*[torch.arange(len(levels))] * len(people)).view(-1, len(people))
    weight = torch.tensor(levels, dtype=torch.float64)[grid]
    chance = read_chances(file, people, len(levels))
    prior = chance[torch.arange(len(people)), grid].prod(1)
    each = prior[:, None].expand(-1, len(beta)).flatten() / len(beta)
    steps = [say_log_choice(one.good, weight, beta)[:, one.chose] for one in choices]
    spread = weight.repeat_interleave(len(beta), 0)  # [W · R, N]
    most = (spread == spread.amax(1, keepdim=True)).double()
    most = most / most.sum(1, keepdim=True)  # evenly over equals
    sums: dict[str, Mapping[str, Tensor]] = {
        "counts most": {name: most[:, i] for i, name in enumerate(people)},
        "expected weight": {name: spread[:, i] for i, name in enumerate(people)},
    }
    if len(beta) > 1:
        which = torch.arange(len(each)) % len(beta)
        sums["rationality"] = {f"{b:g}": (which == i).double() for i, b in enumerate(beta)}
    foretold = {}
    for number, one in enumerate(asked, 1):
        likely = say_log_choice(one.good, weight, beta).exp()
        before = f"choice {number}: " if len(asked) > 1 else ""
        foretold |= {f"{before}{name}": likely[:, i] for i, name in enumerate(one.names)}
    seen = [f"{one.names[one.chose or 0]} ({' or '.join(one.names)})" for one in choices]
    about = f"{len(people)} people, {len(levels)} weights, {len(choices)} choices"
    return Evidence(each, seen, torch.stack(steps), sums, about, asked=foretold)


def read_chances(file: SceneFile, people: Sequence[str], levels: int) -> Tensor:
    """How likely each weight of each person is at first.  -> [N, L]"""
    table = file.table("chances")
    rows = []
    for name in people:
        given = table.get(name, [1] * levels)
        if (
            not isinstance(given, list)
            or len(given) != levels
            or not all(is_finite(x) and x >= 0 for x in given)
            or not sum(given) > 0
        ):
            raise file.wrong("chances", f"for {name} {levels} numbers of 0 or more, not all 0")
        rows.append([x / sum(given) for x in given])
    if not table.keys() <= set(people):
        raise file.wrong("chances", f"a list for some of {', '.join(people)}")
    return torch.tensor(rows, dtype=torch.float64)


def read_choices(
    file: SceneFile, name: str, people: Sequence[str], *, chosen: bool
) -> list[Choice]:
    given = file.fields.get(name)
    wanted = (
        f'[[{name}]] with chose = "share", ' if chosen else f"[[{name}]] with "
    ) + f"between.share = {{ {people[0]} = 4 }}, between.keep = {{ {people[0]} = 8 }}"
    if not isinstance(given, list) or not given:
        raise file.wrong(name, wanted)
    return [read_choice(file, f"{name} {n}", each, people, wanted, chosen=chosen)
            for n, each in enumerate(given, 1)]  # fmt: skip


def read_choice(
    file: SceneFile, which: str, given: Any, people: Sequence[str], wanted: str, *, chosen: bool
) -> Choice:
    between = given.get("between") if isinstance(given, dict) else None
    fields = {"between", "chose"} if chosen else {"between"}
    if not isinstance(between, dict) or len(between) < 2 or not given.keys() <= fields:
        raise UserError(f"{which} of {file.name} is no choice between two or more: give {wanted}.")
    for alternative, goods in between.items():
        if (
            not isinstance(goods, dict)
            or not goods.keys() <= set(people)
            or not all(map(is_finite, goods.values()))
        ):
            raise UserError(
                f"{alternative!r} in {which} of {file.name} gives {goods!r}: give a number for "
                f"some of {', '.join(people)}."
            )
    if chosen and given.get("chose") not in list(between):
        raise UserError(
            f"{which} of {file.name} says chose = {given.get('chose')!r}: give one of "
            f"{', '.join(between)}."
        )
    good = [[float(goods.get(name, 0)) for name in people] for goods in between.values()]
    names = tuple(between)
    number = names.index(given["chose"]) if chosen else None
    return Choice(names, torch.tensor(good, dtype=torch.float64), number)
