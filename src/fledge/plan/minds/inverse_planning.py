"""Which mind is it? P(mind | path) ∝ Π_t π(a_t | known_t, place_t, mind) · P(mind), by enumeration
of all minds, action by action (Baker, Saxe & Tenenbaum 2009, eq. 2; 2011, eq. 1).

With a chance of changing the want is drawn anew between two actions, as goals are in model M2 of
Baker, Saxe & Tenenbaum 2009: then it is the forward algorithm of a hidden Markov model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.planned import Planned
from fledge.plan.minds.walk_scene import ACTS


class InversePlanning:
    """The whole path is weighed as it is opened; `update` takes in one action of it after the
    other. log_posterior: [M], after the last that was taken in; in logs, for who is all but
    excluded by one action may be all that is left after the next. foretold: how likely that action
    was, given those before.
    """

    def __init__(self, planned: Planned) -> None:
        self.planned, self.scene = planned, planned.scene
        self.steps = self.scene.steps
        known, place, act = torch.tensor(self.steps).T
        likely = planned.log_likelihood(known, place, act)
        self.every, evidence = filter_minds(planned, likely)
        self.log_evidence = evidence.tolist()
        self.uncertainty = say_entropy(self.every).tolist()
        self.seen = 0

    unfinished = None

    @property
    def log_posterior(self) -> Tensor:
        return self.every[:, self.seen]

    @property
    def posterior(self) -> Tensor:
        """[M]"""
        return self.log_posterior.exp()

    @property
    def foretold(self) -> float:
        return math.exp(self.log_evidence[self.seen - 1]) if self.seen else 1.0

    def update(self, batch: int, between_steps: Callable[[], None] = lambda: None) -> Any:
        """Take in the next action. Raises UserError for one that every mind excludes."""
        if not math.isfinite(self.log_evidence[self.seen]):
            raise exclude(self.seen + 1, self.steps[self.seen][2])
        self.seen += 1
        return {"uncertainty": self.uncertainty[self.seen], "foretold": self.foretold}

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]


def filter_minds(planned: Planned, likely: Tensor) -> tuple[Tensor, Tensor]:
    """log P(mind | actions so far), before any and after each, and log P(action | those before).
    likely: log P(action | mind), [M, ..., T].  -> [M, ..., T + 1], [..., T]
    """
    prior = planned.prior.log().view(-1, *[1] * (likely.dim() - 1))
    if planned.scene.change == 0:
        joint = torch.cat([prior.expand_as(likely[..., :1]), prior + likely.cumsum(-1)], -1)
        total = joint.logsumexp(0)
        return joint - total, total.diff(dim=-1)
    log_p, evidence = [prior.expand_as(likely[..., :1])[..., 0]], []
    for each in likely.unbind(-1):
        # Before the first action too: wants drawn anew from the prior are the prior.
        joint = change_wants(planned, log_p[-1]) + each
        evidence.append(joint.logsumexp(0))
        log_p.append(joint - evidence[-1])
    return torch.stack(log_p, -1), torch.stack(evidence, -1)


def change_wants(planned: Planned, log_p: Tensor) -> Tensor:
    """(1 − ε) p(belief, want, β) + ε p(belief, β) P(want), in logs.  [M, ...] -> [M, ...]"""
    scene = planned.scene
    if scene.change == 0:
        return log_p
    shape = (len(scene.beliefs), len(scene.wants), len(scene.rationality), *log_p.shape[1:])
    table, change = log_p.view(shape), log_p.new_tensor(scene.change)
    wanted = log_p.new_tensor([each.chance for each in scene.wants]).log()
    fresh = table.logsumexp(1, keepdim=True) + wanted.view(-1, *[1] * (len(shape) - 2))
    return torch.logaddexp((1 - change).log() + table, change.log() + fresh).view(log_p.shape)


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


def say_entropy(log_p: Tensor) -> Tensor:
    """Of chances in logs.  [M, ...] -> [...]"""
    return -(log_p.exp() * log_p.clamp(min=-1e300)).sum(0)
