"""What they will do next and in the end: P(future | path) = Σ_mind P(mind | path) P(future | mind),
by going through everywhere they could then be, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.plan.minds.inverse_planning import change_wants
from fledge.plan.minds.planned import Planned
from fledge.plan.minds.walk_scene import TAKE, WalkScene

FARTHEST = 200  # actions that are looked ahead


@dataclass(frozen=True)
class Prediction:
    """acts: [6], of the next action. taken: [P], what is taken in each place within `horizon`
    actions. going: that nothing is.
    """

    acts: Tensor
    taken: Tensor
    going: float
    horizon: int


def predict(
    planned: Planned, posterior: Tensor, known: int, place: int, horizon: int = FARTHEST
) -> Prediction:
    """From what is known and where they stand; posterior: [M]."""
    scene = planned.scene
    states, S = list_ahead(planned, known), scene.after.shape[1]
    policy = planned.log_policy(torch.tensor(states)[:, None], torch.arange(S)).exp()
    here = torch.zeros(len(posterior), len(states), S, dtype=torch.float64)
    # The first of the states is what is known now; what is wanted may change before the next act.
    here[:, 0, place] = change_wants(planned, posterior.log()).exp()
    acts = here[:, 0, place] @ policy[:, 0, place]
    number = tabulate_looks(scene, states)
    target = number[:, scene.after] * S + scene.after  # [K, 5, S]: where each move leads
    taken = torch.zeros(len(scene.places), dtype=torch.float64)
    for step in range(horizon):
        flow = here[..., None] * policy  # [M, K, S, 6]
        on_spot = flow[..., TAKE].sum((0, 1))[scene.spot]
        taken += on_spot
        moved = flow[..., :TAKE].transpose(2, 3)  # [M, K, 5, S]
        after = torch.zeros_like(here).flatten(1)
        after.index_add_(1, target.flatten(), moved.flatten(1))
        here = after.view(here.shape)
        if scene.change and step + 1 < horizon:
            here = change_wants(planned, here.log()).exp()
        if float(here.sum()) < 1e-12:
            break
    return Prediction(acts, taken, float(here.sum()), horizon)


def list_ahead(planned: Planned, known: int) -> list[int]:
    """What may be known from now on, of what really stands there: now first."""
    scene = planned.scene
    states, waiting = [known], [known]
    sets = scene.visible.unique(dim=0)
    while waiting:
        before = scene.knowledge.states[waiting.pop()]
        for seen in sets:
            after = torch.where(seen & (before < 0), scene.truth, before)
            number = int(scene.knowledge.find(after))
            if number not in states:
                states.append(number)
                waiting.append(number)
    return states


def tabulate_looks(scene: WalkScene, states: Sequence[int]) -> Tensor:
    """Which of these states a look from each place leads to, of what really stands there. states:
    as `list_ahead` gives them.  -> [K, S] long
    """
    known = scene.knowledge.states[torch.tensor(states)][:, None]
    after = scene.knowledge.find(torch.where(scene.visible & (known < 0), scene.truth, known))
    place = torch.full((len(scene.knowledge.states),), -1)
    place[torch.tensor(states)] = torch.arange(len(states))
    return place[after]
