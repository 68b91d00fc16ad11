"""Which mind is it, by a particle filter: minds drawn from the prior, weighed by what they would
do, and drawn again when few of them still count (Gordon, Salmond & Smith 1993).

Its error falls as 1/√n, and it needs no list of all minds; with a list, as here, the exact
posterior goes beside it and says how large the error is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.plan.minds.inverse_planning import InversePlanning, measure
from fledge.plan.minds.planned import Planned
from fledge.plan.minds.walk_scene import ACTS
from fledge.seeds import generator_for


class ParticleFilter:
    """particle: [n] long, the mind of each. log_weight: [n]. posterior: [M], after the last action.
    exact: the same by enumeration.

    Drawn again, by one uniform number (systematic resampling; Kitagawa 1996), when the effective
    sample size falls below half of n. The posterior is told before that: drawing only adds noise to
    it (Liu & Chen 1998, section 3).
    """

    def __init__(self, planned: Planned, particles: int, seed: int) -> None:
        self.planned, self.scene = planned, planned.scene
        self.generator = generator_for(seed, "noise", "particles")
        self.particle = draw_minds(planned.prior, particles, self.generator)
        self.log_weight = torch.zeros(particles, dtype=torch.float64)
        self.posterior = self.sum_weights()
        self.exact = InversePlanning(planned)
        self.foretold = 1.0

    unfinished = None

    @property
    def seen(self) -> int:
        return self.exact.seen

    @property
    def steps(self) -> list[tuple[int, int, int]]:
        return self.exact.steps

    def sum_weights(self) -> Tensor:
        """The particles' weight by mind.  -> [M]"""
        weight = self.log_weight.softmax(0)
        return weight.new_zeros(len(self.planned.minds)).index_add(0, self.particle, weight)

    def update(self, batch: int, between_steps: Callable[[], None] = lambda: None) -> Any:
        """Take in the next action. Raises UserError for one that every particle excludes."""
        known, place, act = self.exact.steps[self.seen]
        if self.seen > 0:
            self.particle = change_minds(self.planned, self.particle, self.generator)
        before = self.log_weight.log_softmax(0)
        joint = before + self.planned.log_policy(known, place)[self.particle, act]
        evidence = joint.logsumexp(0)
        self.exact.update(batch)
        if not bool(evidence.isfinite()):
            raise UserError(
                f"action {self.seen} of the path, {ACTS[act]}, is one that all "
                f"{len(self.particle):,} particles exclude, and not every mind: give more "
                "particles, or inference=enumeration."
            )
        self.log_weight, self.foretold = joint - evidence, float(evidence.exp())
        self.posterior, weight = self.sum_weights(), self.log_weight.exp()
        effective = float(1 / weight.square().sum())
        apart = 0.5 * float((self.posterior - self.exact.posterior).abs().sum())
        if effective < len(weight) / 2:
            self.resample(weight)
        return measure(self.posterior) | {
            "foretold": self.foretold, "distance": apart,
            "effective_sample_size": effective,
        }  # fmt: skip

    def resample(self, weight: Tensor) -> None:
        n = len(weight)
        first = torch.rand((), dtype=torch.float64, generator=self.generator)
        places = (torch.arange(n, dtype=torch.float64) + first) / n
        chosen = torch.searchsorted(weight.cumsum(0), places).clamp(max=n - 1)
        self.particle, self.log_weight = self.particle[chosen], torch.zeros_like(weight)

    def state_dict(self) -> dict[str, Any]:
        return {
            "particle": self.particle, "log_weight": self.log_weight,
            "posterior": self.posterior, "foretold": self.foretold,
            "generator": self.generator.get_state(), "exact": self.exact.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.particle, self.log_weight = state["particle"], state["log_weight"]
        self.posterior, self.foretold = state["posterior"], state["foretold"]
        self.generator.set_state(state["generator"])
        self.exact.load_state_dict(state["exact"])


def draw_minds(chance: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """[M] -> [n] long"""
    return chance.multinomial(n, replacement=True, generator=generator)


def change_minds(planned: Planned, mind: Tensor, generator: torch.Generator) -> Tensor:
    """Some give up what they wanted for a fresh want.  [n] -> [n]"""
    scene = planned.scene
    if scene.change == 0:
        return mind
    D, R = len(scene.wants), len(scene.rationality)
    wanted = torch.tensor([each.chance for each in scene.wants], dtype=torch.float64)
    fresh = draw_minds(wanted, len(mind), generator)
    gives_up = torch.rand(len(mind), generator=generator) < scene.change
    belief, rationality = mind // (D * R), mind % R
    return torch.where(gives_up, (belief * D + fresh) * R + rationality, mind)
