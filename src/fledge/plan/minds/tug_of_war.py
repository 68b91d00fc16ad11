"""How strong is each of them, out of who won a tug of war? Teams pull with the sum of what their
members pull; who is lazy pulls half (Gerstenberg & Goodman 2012, ping pong in church).

All strengths of all players are enumerated, and in each match who was lazy.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.evidence import Evidence
from fledge.plan.minds.scene_file import SceneFile, is_finite

FIELDS = ("matches", "ask", "strengths", "chances", "lazy")
MOST_WAYS = 2_000_000
Match = tuple[tuple[str, ...], tuple[str, ...]]  # who won against whom


def chance_of_winning(
    strength: Tensor, first: Sequence[int], second: Sequence[int], lazy: float
) -> Tensor:
    """P(first wins | strengths), evenly where both pull as much.  [M, N] -> [M]"""
    pulling = [*first, *second]
    won = strength.new_zeros(len(strength))
    for idle in itertools.product((False, True), repeat=len(pulling)):
        chance = 1.0
        for each in idle:
            chance *= lazy if each else 1 - lazy
        if chance == 0:
            continue
        pull = torch.stack([
            strength[:, player] * (0.5 if each else 1.0)
            for player, each in zip(pulling, idle, strict=True)
        ])  # fmt: skip
        ahead = pull[: len(first)].sum(0) - pull[len(first) :].sum(0)
        won += chance * torch.where(ahead.abs() < 1e-12, 0.5, (ahead > 0).double())
    return won


def read_tug(file: SceneFile) -> Evidence:
    """Raises UserError for matches that cannot be read, and too many players."""
    file.check_names(FIELDS)
    matches = read_matches(file, "matches")
    asked = read_matches(file, "ask") if "ask" in file.fields else []
    players = list(
        dict.fromkeys(name for match in matches + asked for team in match for name in team)
    )
    levels = read_list(file, "strengths", [1.0, 2.0, 3.0, 4.0, 5.0])
    usual = [float(math.comb(len(levels) - 1, k)) for k in range(len(levels))]
    weights = read_list(file, "chances", usual)  # the middle is the commonest
    if len(weights) != len(levels) or min(weights) < 0 or min(levels) < 0 or not sum(weights) > 0:
        raise file.wrong("chances", f"{len(levels)} numbers of 0 or more, one for each strength")
    if len(levels) ** len(players) > MOST_WAYS:
        raise UserError(
            f"{len(players)} players of {len(levels)} strengths can be in "
            f"{len(levels) ** len(players):,} ways, of which {MOST_WAYS:,} can be enumerated: give "
            "fewer of either."
        )
    lazy = file.number("lazy", 0.3, 0.0, 1.0)
    grid = torch.cartesian_prod(*[torch.arange(len(levels))] * len(players)).view(-1, len(players))
    strength = torch.tensor(levels, dtype=torch.float64)[grid]
    chance = torch.tensor(weights, dtype=torch.float64)
    prior = (chance / chance.sum())[grid].prod(1)
    place = {name: number for number, name in enumerate(players)}

    def judge(match: Match) -> Tensor:
        first, second = ([place[name] for name in team] for team in match)
        return chance_of_winning(strength, first, second, lazy)

    steps = torch.stack([judge(match).log() for match in matches])
    sums: Mapping[str, Mapping[str, Tensor]] = {
        "expected strength": {name: strength[:, place[name]] for name in players},
    }
    foretold = {f"{spell(match, 'wins against')}": judge(match) for match in asked}
    about = f"{len(players)} players, {len(levels)} strengths, {len(matches)} matches"
    seen = [spell(match, ">") for match in matches]
    return Evidence(prior, seen, steps, sums, about, asked=foretold)


def read_matches(file: SceneFile, name: str) -> list[Match]:
    """`Ann Bob > Cy`: who won against whom."""
    given = file.fields.get(name)
    wanted = 'a list such as ["Ann > Bob", "Ann Cy > Bob Di"], the winners first'
    if not isinstance(given, list) or not given or not all(isinstance(x, str) for x in given):
        raise file.wrong(name, wanted)
    matches = []
    for each in given:
        teams = [tuple(re.split(r"[\s,]+", side.strip())) for side in each.split(">")]
        names = [player for team in teams for player in team]
        if len(teams) != 2 or "" in names or len(set(names)) < len(names):
            raise UserError(f"the match {each!r} of {file.name} cannot be read: give {wanted}.")
        matches.append((teams[0], teams[1]))
    return matches


def read_list(file: SceneFile, name: str, otherwise: Sequence[float]) -> list[float]:
    given = file.fields.get(name, list(otherwise))
    if not isinstance(given, list) or not given or not all(map(is_finite, given)):
        raise file.wrong(name, "a list of numbers")
    return list(map(float, given))


def spell(match: Match, word: str) -> str:
    return f"{' '.join(match[0])} {word} {' '.join(match[1])}"
