"""What each possible mind would do, everywhere and whatever it knows: value iteration in the belief
MDP, for all minds in one tensor.

It begins with the value of standing still for ever, which nobody does worse than. Each sweep lets
plans be one step longer; since moves do not slip and what is known only grows, the best plan is
found after finitely many, and no value is left to come.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.knowledge import NOTHING
from fledge.plan.minds.walk_scene import ACTS, WalkScene, name_things

MOST_NUMBERS = 60_000_000  # of Q: half a gigabyte
SETTLED = 4 * torch.finfo(torch.float64).eps  # a change this small, relative, is rounding


@dataclass(frozen=True)
class Mind:
    """Whose belief, want and β are these, by their numbers in the scene."""

    belief: int
    want: int
    rationality: int


@dataclass(frozen=True)
class Planned:
    """q: [B, D, K, S, 6] float64, of each belief and want, what is known, and where: actions in the
    order of ACTS, −∞ for taking where there is nothing. minds: B·D·R in this order. error_bound:
    how far q is from Q* at the most.
    """

    scene: WalkScene
    q: Tensor
    minds: tuple[Mind, ...]
    prior: Tensor  # [M]
    sweeps: int
    error_bound: float

    def log_policy(self, known: int | Tensor, place: int | Tensor) -> Tensor:
        """log π(a | known, place, mind).  -> [M, …, 6]"""
        q = self.q[:, :, known, place]  # [B, D, …, 6]
        each = [say_log_policy(q, beta) for beta in self.scene.rationality]
        return torch.stack(each, 2).flatten(0, 2)

    def log_likelihood(self, known: Tensor, place: Tensor, act: Tensor) -> Tensor:
        """log π(act | known, place, mind) of what was done.  [...] long all -> [M, ...]"""
        q = self.q[:, :, known, place].movedim(-1, 0)  # [6, B, D, ...]: sums over actions are fast
        apart = q - q.amax(0)
        done = apart.gather(0, act.expand(1, *q.shape[1:]))[0]
        each = []
        for beta in self.scene.rationality:
            if beta < float("inf"):
                each.append(beta * done - (beta * apart).exp().sum(0).log())
            else:
                table = say_log_policy(q.movedim(0, -1), beta)
                each.append(table.gather(-1, act.expand(q.shape[1:])[..., None])[..., 0])
        return torch.stack(each, 2).flatten(0, 2)

    def log_policy_of(self, mind: Tensor, known: Tensor, place: Tensor) -> Tensor:
        """log π(a | known, place, mind), one mind for each.  [n] long all -> [n, 6]"""
        D, R = len(self.scene.wants), len(self.scene.rationality)
        q = self.q[mind // (D * R), mind // R % D, known, place]
        each = torch.stack([say_log_policy(q, beta) for beta in self.scene.rationality])
        return each[mind % R, torch.arange(len(mind))]

    def favourites(self) -> tuple[list[str], Tensor]:
        """What each mind wants most: names, and which mind has which.  -> [M] long"""
        best = [name_things(self.scene, want) for want in self.scene.wants]
        names = sorted(set(best), key=best.index)
        return names, torch.tensor([names.index(best[mind.want]) for mind in self.minds])


def say_log_policy(q: Tensor, beta: float) -> Tensor:
    """log softmax(β q); evenly over the best where β is infinite.  [..., A] -> [..., A]"""
    if beta < float("inf"):
        return (beta * q).log_softmax(-1)
    best = q >= q.amax(-1, keepdim=True) - 1e-9
    return torch.where(best, -best.sum(-1, keepdim=True).double().log(), -torch.inf)


def plan_minds(scene: WalkScene) -> Planned:
    """Raises UserError for a scene that is too large to plan in."""
    B, D, R = len(scene.beliefs), len(scene.wants), len(scene.rationality)
    K, S = len(scene.knowledge.states), scene.after.shape[1]
    if B * D * K * S * len(ACTS) > MOST_NUMBERS:
        raise UserError(
            f"{B} beliefs, {D} wants, {K} states of knowledge and {S} places to stand are "
            f"{B * D * K * S * len(ACTS):,} numbers, of which {MOST_NUMBERS:,} can be planned "
            "with: give a smaller map, or fewer things, places, beliefs or wants."
        )
    look = gather_looks(scene)
    taking = worth_taking(scene)  # [D, K, S]
    stay = -scene.step_cost / (1 - scene.gamma)
    value = torch.full((B, D, K, S), stay, dtype=torch.float64)
    value = torch.maximum(value, taking)
    sweeps = 0
    while True:
        q = back_up(scene, value, look, taking)
        better = torch.maximum(value, q.amax(-1))
        residual, largest = float((better - value).max()), float(better.abs().max())
        value, sweeps = better, sweeps + 1
        if residual <= SETTLED * largest:
            break
    chance = torch.tensor([each.chance for each in scene.beliefs], dtype=torch.float64)
    wanted = torch.tensor([each.chance for each in scene.wants], dtype=torch.float64)
    prior = (chance[:, None, None] * wanted[:, None] / R).expand(B, D, R).flatten()
    minds = tuple(itertools.starmap(Mind, itertools.product(range(B), range(D), range(R))))
    bound = (scene.gamma * residual + 2 * SETTLED * largest) / (1 - scene.gamma)
    return Planned(scene, q, minds, prior, sweeps, bound)


def gather_looks(scene: WalkScene) -> list[tuple[Tensor, Tensor]]:
    """For each set of places that is seen from somewhere: the floor from which, [n] long, and what
    is then known, [B, K, K].
    """
    prior = torch.tensor([each.numbers for each in scene.beliefs], dtype=torch.float64)
    belief = scene.knowledge.believe(prior)
    sets, which = scene.visible.unique(dim=0, return_inverse=True)
    return [
        ((which == i).nonzero()[:, 0], scene.knowledge.look(belief, seen))
        for i, seen in enumerate(sets)
    ]


def worth_taking(scene: WalkScene) -> Tensor:
    """What taking pays there, to whom; −∞ where there is nothing to take.  -> [D, K, S]"""
    worth = torch.tensor([each.numbers for each in scene.wants], dtype=torch.float64)
    of = torch.cat([torch.full((len(worth), 1), -torch.inf, dtype=torch.float64), worth], 1)
    K, S = len(scene.knowledge.states), scene.after.shape[1]
    taking = torch.full((len(worth), K, S), -torch.inf, dtype=torch.float64)
    for number, place in enumerate(scene.spot.tolist()):
        taking[:, :, place] = of[:, scene.knowledge.states[:, number].clamp(min=NOTHING)]
    return taking


def back_up(
    scene: WalkScene, value: Tensor, look: list[tuple[Tensor, Tensor]], taking: Tensor
) -> Tensor:
    """Q = −cost + γ E[V after the move and the look that it brings].  [B, D, K, S] -> [B, D, K, S,
    6]
    """
    seen = torch.empty_like(value)
    for places, after in look:
        seen[..., places] = after[:, None] @ value[..., places]
    moved = scene.gamma * seen[..., scene.after] - scene.step_cost  # [B, D, K, 5, S]
    return torch.cat([moved, taking[:, :, None].expand(*value.shape[:2], -1, 1, -1)], 3).transpose(
        3, 4
    )
