"""How to help somebody whose mind is not known: wait and watch, ask what they want, or bring it.

An assistance game (Hadfield-Menell, Dragan, Abbeel & Russell 2016) against people who act by their
own plans: both are paid what the person is paid, only the person knows what that is. It is then a
POMDP over minds, solved exactly by looking ahead through all that the person may do and answer in
so many turns; after them the person goes on alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.planned import Planned
from fledge.plan.minds.prediction import list_ahead, tabulate_looks
from fledge.plan.minds.scene_file import SceneFile, is_finite
from fledge.plan.minds.walk_scene import TAKE

MOST_NUMBERS = 40_000_000  # of all histories, a number for each mind


@dataclass(frozen=True)
class Costs:
    """Of a question and of bringing something, in the units of the wants. turns: looked ahead."""

    ask: float = 0.5
    fetch: float = 1.0
    turns: int = 2


def read_costs(file: SceneFile) -> Costs | None:
    """[helper] of a walk, if it has one.  Raises UserError."""
    if "helper" not in file.fields:
        return None
    table = file.table("helper")
    turns = table.get("turns", 2)
    if not table.keys() <= {"ask", "fetch", "turns"} or not all(map(is_finite, table.values())):
        raise file.wrong("helper", "the table [helper] with ask, fetch and turns, numbers")
    costs = Costs(float(table.get("ask", 0.5)), float(table.get("fetch", 1.0)), int(turns))
    if file.fields.get("change", 0):
        raise UserError(
            f"{file.name} has a [helper] and wants that change: it can plan for wants that stay. "
            "Leave one of the two out."
        )
    if min(costs.ask, costs.fetch) < 0 or turns not in range(1, 7):
        raise file.wrong("helper", "ask and fetch of 0 or more, and 1 to 6 turns")
    return costs


class Helper:
    """Knows what really stands where, and what the person has seen."""

    def __init__(self, planned: Planned, costs: Costs) -> None:
        self.planned, self.scene, self.costs = planned, planned.scene, costs
        self.known = list_ahead(planned, planned.scene.see(0, planned.scene.start))
        S = self.scene.after.shape[1]
        states = torch.tensor(self.known)
        policy = planned.log_policy(states[:, None], torch.arange(S)).exp()
        self.policy = policy.flatten(1, 2)  # [M, X, 6]: X what is known, and where
        self.worth = self.scene_worth()  # [M, things]
        number = tabulate_looks(self.scene, self.known)
        there = number[:, self.scene.after] * S + self.scene.after  # [K, 5, S]
        self.after = there.transpose(1, 2).flatten(0, 1)  # [X, 5]
        self.taken = self.worth_of_taking()  # [M, X]
        self.alone = self.value_alone()
        self.answers, self.says = planned.favourites()

    def scene_worth(self) -> Tensor:
        wants = torch.tensor([want.numbers for want in self.scene.wants], dtype=torch.float64)
        return wants[torch.tensor([mind.want for mind in self.planned.minds])]

    def worth_of_taking(self) -> Tensor:
        """What taking pays each mind, 0 where nothing is.  -> [M, X]"""
        S = self.scene.after.shape[1]
        taken = torch.zeros(len(self.worth), len(self.known), S, dtype=torch.float64)
        for number, place in enumerate(self.scene.spot.tolist()):
            thing = int(self.scene.truth[number])
            if thing:
                taken[:, :, place] = self.worth[:, thing - 1, None]
        return taken.flatten(1)

    def value_alone(self) -> Tensor:
        """What the person comes to without help: V = Σ_a π (r + γ V′), by linear algebra.  -> [M,
        X]
        """
        X, gamma = self.after.shape[0], self.scene.gamma
        values = []
        for policy, taken in zip(self.policy, self.taken, strict=True):
            moves = torch.zeros(X, X, dtype=torch.float64)
            moves.scatter_add_(1, self.after, policy[:, :TAKE])
            paid = policy[:, TAKE] * taken - policy[:, :TAKE].sum(1) * self.scene.step_cost
            values.append(torch.linalg.solve(torch.eye(X).double() - gamma * moves, paid))
        return torch.stack(values)

    def weigh(self, belief: Tensor, known: int, place: int) -> dict[str, float]:
        """The value of each thing that the helper can do, then doing the best. belief: [M]. Raises
        UserError where there is too much to look through.
        """
        grown = (5 * (1 + len(self.answers))) ** self.costs.turns * len(belief)
        if grown > MOST_NUMBERS:
            raise UserError(
                f"{self.costs.turns} turns with {len(belief)} minds are {grown:,} numbers, of "
                f"which {MOST_NUMBERS:,} can be looked through: give [helper] fewer turns."
            )
        x = torch.tensor([self.known.index(known) * self.scene.after.shape[1] + place])
        value = self.look_ahead(belief[None], x, self.costs.turns)
        fetched = belief @ self.worth - self.costs.fetch * belief.sum()
        return {
            "wait": float(value[0, 0]), "ask": float(value[0, 1]),
            **{f"bring {thing}": float(each)
               for thing, each in zip(self.scene.things, fetched, strict=True)},
        }  # fmt: skip

    def look_ahead(self, weight: Tensor, x: Tensor, turns: int) -> Tensor:
        """Of waiting and of asking.  weight [n, M], not scaled, x [n] -> [n, 2]"""
        spoken = torch.stack([
            torch.where(self.says == number, weight, 0.0) for number in range(len(self.answers))
        ], 1)  # [n, G, M]: each answer keeps those who would give it  # fmt: skip
        every = torch.cat([weight[:, None], spoken], 1)
        n, branches, M = every.shape
        acted = every[:, :, None] * self.policy[:, x].permute(1, 2, 0)[:, None]  # [n, 1+G, 6, M]
        paid = (acted[:, :, TAKE] * self.taken[:, x].T[:, None]).sum(-1)
        moved = acted[:, :, :TAKE]
        paid = paid - self.scene.step_cost * moved.sum((-1, -2))
        after = self.after[x][:, None].expand(n, branches, TAKE).flatten()
        further = self.find_best(moved.reshape(-1, M), after, turns - 1).view(n, branches, TAKE)
        value = paid + self.scene.gamma * further.sum(-1)
        asked = value[:, 1:].sum(1) - self.costs.ask * weight.sum(1)
        return torch.stack([value[:, 0], asked], 1)

    def find_best(self, weight: Tensor, x: Tensor, turns: int) -> Tensor:
        """[n, M], [n] -> [n]"""
        if turns == 0:
            return (weight * self.alone[:, x].T).sum(-1)
        fetched = (weight @ self.worth).amax(1) - self.costs.fetch * weight.sum(1)
        return torch.maximum(self.look_ahead(weight, x, turns).amax(1), fetched)


def choose(values: Mapping[str, float]) -> str:
    """The best, the first of equals."""
    return max(values, key=values.__getitem__)
