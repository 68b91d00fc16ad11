"""What a trainer of agents adds in expectation, by enumeration of all episodes that there can be:
beside the exact gradient, and its variance beside plain REINFORCE's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fledge.exact.mdp import EnumeratedMDP
from fledge.verify.referee import inverse
from fledge.verify.referee.second_way import DRAWN, SecondWay, bound_scale
from fledge.verify.referee.world_question import (
    Rollout,
    WorldHearing,
    WorldPeer,
    enumerate_episodes,
)

LISTS = {"actor": enumerate_episodes, "inverse": inverse.list_demonstrations}


@dataclass(frozen=True)
class Expectation:
    """Of the part of the table that `true` is the gradient of."""

    episodes: Sequence[Rollout]
    masses: Tensor  # [N]
    answers: Tensor  # [N, n], one episode's each
    true: Tensor  # [n]

    @property
    def mean(self) -> Tensor:
        return (self.masses[:, None] * self.answers).sum(0)

    @property
    def cosine(self) -> float:
        return float(self.mean @ self.true / (self.mean.norm() * self.true.norm()).clamp(min=1e-12))

    @property
    def scale(self) -> float:
        return float(self.mean @ self.true / self.true.square().sum())

    @property
    def bias(self) -> float:
        apart = (self.mean - self.scale * self.true).norm()
        return float(apart / abs(self.scale) / self.true.norm())

    @property
    def variance(self) -> float:
        """E‖ĝ − E ĝ‖² of one episode, as far along the true gradient as that is long; infinite
        where it goes nowhere along it.
        """
        apart = (self.answers - self.mean).square().sum(1)
        return float((self.masses * apart).sum()) / self.scale**2 if self.scale else math.inf

    def sample(self) -> SecondWay:
        """The scale again, from episodes that are drawn."""
        random = torch.Generator().manual_seed(17)
        drawn = torch.multinomial(self.masses, DRAWN, True, generator=random)
        along = self.answers @ self.true / self.true.square().sum()
        return bound_scale(along[drawn].tolist(), self.scale)


def expect(hearing: WorldHearing, peer: WorldPeer) -> Expectation | None:
    """None where nothing is enumerated: values and clones have no policy's gradient."""
    if hearing.family not in LISTS:
        return None
    problem = hearing.problem
    episodes, masses = zip(*LISTS[hearing.family](problem), strict=True)
    true = (
        inverse.likelihood_slope(problem)
        if hearing.family == "inverse"
        else problem.world.gradient(problem.logits).flatten()
    )
    answers = torch.stack([peer.answer(episode)[: true.numel()] for episode in episodes])
    return Expectation(episodes, torch.tensor(masses, dtype=torch.float64), answers, true)


def reinforce_variance(world: EnumeratedMDP, logits: Tensor) -> float:
    """The total variance of Σ_t ∇log π(a_t|s_t) · Σ_t γ^t r_t, from one episode."""
    score = world.step_scores(logits).sum(1)  # [N, S, A]
    one = score * world.back[:, None, None]
    mass = world.prob(logits)
    mean = (mass[:, None, None] * one).sum(0)
    return float((mass * (one - mean).square().sum((1, 2))).sum())
