"""Walks that minds of a scene would take: minds drawn from the prior, who act by their own plans;
and the exact posterior after each action, of many walks at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.plan.minds.inverse_planning import filter_minds
from fledge.plan.minds.particles import change_minds, draw_minds
from fledge.plan.minds.planned import Planned
from fledge.plan.minds.prediction import list_ahead, tabulate_looks
from fledge.plan.minds.walk_scene import ACTS, TAKE

AT_ONCE = 10_000_000  # chances of actions that are worked out together: 80 MB


@dataclass(frozen=True)
class Walks:
    """[B, T] all: whose each action was, what they knew, where they stood and what they did; chosen
    is False after the end of a walk. known: numbers of the scene's states of knowledge.
    """

    mind: Tensor
    known: Tensor
    place: Tensor
    act: Tensor
    chosen: Tensor


class Simulator:
    """Draws walks of at most `longest` actions in the scene as it stands.

    states: what can be known on the way, the first of all at the start.
    """

    def __init__(self, planned: Planned, longest: int) -> None:
        self.planned, self.longest = planned, longest
        scene = planned.scene
        self.states = torch.tensor(list_ahead(planned, scene.see(0, scene.start)))
        self.looks = tabulate_looks(scene, self.states.tolist())

    def draw(self, walks: int, generator: torch.Generator) -> Walks:
        scene = self.planned.scene
        mind = draw_minds(self.planned.prior, walks, generator)
        place, known = torch.full((walks,), scene.start), torch.zeros(walks, dtype=torch.long)
        going, steps = torch.ones(walks, dtype=torch.bool), []
        for t in range(self.longest):
            if t > 0:
                mind = change_minds(self.planned, mind, generator)
            log_policy = self.planned.log_policy_of(mind, self.states[known], place)
            act = log_policy.exp().multinomial(1, generator=generator)[:, 0]
            steps.append((mind, self.states[known], place, act, going))
            going = going & (act != TAKE)
            place = scene.after[act.clamp(max=TAKE - 1), place]
            known = self.looks[known, place]
            if not bool(going.any()):
                break
        return Walks(*(torch.stack(each, 1) for each in zip(*steps, strict=True)))


def follow_exactly(planned: Planned, walks: Walks) -> Tensor:
    """log P(mind | actions so far) of each walk, by enumeration of all minds.  -> [B, T, M]"""
    B, T = walks.act.shape
    rows = max(1, AT_ONCE // (len(planned.minds) * len(ACTS) * T))
    parts = []
    for a in range(0, B, rows):
        some = (each[a : a + rows] for each in (walks.known, walks.place, walks.act))
        log_p, _ = filter_minds(planned, planned.log_likelihood(*some))
        parts.append(log_p[..., 1:].permute(1, 2, 0))
    return torch.cat(parts)
