"""Which mind is it? P(mind | path) ∝ Π_t π(a_t | known_t, place_t, mind) · P(mind), by enumeration
of all minds, action by action (Baker, Saxe & Tenenbaum 2009, eq. 2; 2011, eq. 1).

With a chance of changing the want is drawn anew between two actions, as goals are in model M2 of
Baker, Saxe & Tenenbaum 2009: then it is the forward algorithm of a hidden Markov model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.planned import Planned
from fledge.plan.minds.walk_scene import ACTS


class InversePlanning:
    """posterior: [M], after the last action that was seen. foretold: how likely that action was,
    given those before.
    """

    def __init__(self, planned: Planned) -> None:
        self.planned, self.scene = planned, planned.scene
        self.steps = self.scene.follow()
        self.posterior = planned.prior.clone()
        self.foretold = 1.0
        self.seen = 0

    unfinished = None

    def update(self, batch: int, between_steps: Callable[[], None] = lambda: None) -> Any:
        """Take in the next action. Raises UserError for one that every mind excludes."""
        known, place, act = self.steps[self.seen]
        # Before the first action too: wants drawn anew from the prior are the prior.
        joint = (
            change_wants(self.planned, self.posterior).log()
            + self.planned.log_policy(known, place)[:, act]
        )
        evidence = joint.logsumexp(0)
        if not bool(evidence.isfinite()):
            raise exclude(self.seen + 1, act)
        self.posterior, self.foretold = (joint - evidence).exp(), float(evidence.exp())
        self.seen += 1
        return measure(self.posterior) | {"foretold": self.foretold}

    def state_dict(self) -> dict[str, Any]:
        return {"posterior": self.posterior, "foretold": self.foretold, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.posterior = state["posterior"]
        self.foretold, self.seen = state["foretold"], state["seen"]


def change_wants(planned: Planned, posterior: Tensor) -> Tensor:
    """(1 − ε) p(belief, want, β) + ε p(belief, β) P(want).  [M, ...] -> [M, ...]"""
    scene = planned.scene
    if scene.change == 0:
        return posterior
    shape = (len(scene.beliefs), len(scene.wants), len(scene.rationality), *posterior.shape[1:])
    table = posterior.view(shape)
    wanted = posterior.new_tensor([each.chance for each in scene.wants])
    fresh = table.sum(1, keepdim=True) * wanted.view(-1, *[1] * (len(shape) - 2))
    return ((1 - scene.change) * table + scene.change * fresh).view(posterior.shape)


def exclude(number: int, act: int) -> UserError:
    return UserError(
        f"action {number} of the path, {ACTS[act]}, is one that every mind excludes: with "
        "rationality = inf nobody ever errs. Add a finite rationality, a want or a belief that "
        "would do it, or correct the path."
    )


def sum_by(planned: Planned, posterior: Tensor) -> dict[str, dict[str, float]]:
    """The posterior of what is wanted most, of each belief, want and β, by their names."""
    scene = planned.scene
    table = posterior.view(len(scene.beliefs), len(scene.wants), len(scene.rationality))
    names, which = planned.favourites()
    best = posterior.new_zeros(len(names)).index_add(0, which, posterior)
    return {
        "wants most": dict(zip(names, best.tolist(), strict=True)),
        "wants": name_all([each.name for each in scene.wants], table.sum((0, 2))),
        "believes": name_all([each.name for each in scene.beliefs], table.sum((1, 2))),
        "rationality": name_all([f"{each:g}" for each in scene.rationality], table.sum((0, 1))),
    }


def name_all(names: list[str], chances: Tensor) -> dict[str, float]:
    return dict(zip(names, chances.tolist(), strict=True))


def measure(posterior: Tensor) -> dict[str, float]:
    """The posterior's entropy: nats that are not known yet.  [M]"""
    return {"uncertainty": float(-torch.special.xlogy(posterior, posterior).sum())}
