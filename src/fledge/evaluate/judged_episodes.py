"""The episodes that an agent is judged by: whole ones, each in a copy of its own, without
exploring; and what their mean may be.

A run has two kinds, told apart by their seeds: those of its evaluations steer (the best agent is
kept by them, `stop_at_return` ends by them), and those of the end are played once, by the agent
that was kept, and are its result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fledge.sample.whole_episodes import WholeEpisodes
from fledge.seeds import seed_for
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Trajectories
from fledge.worlds.world import World

RESAMPLES = 2_000


def steering_seed(seed: int) -> int:
    """Of the episodes that a run's evaluations play, the same ones each time."""
    return seed_for(seed, "evaluation")


def result_seed(seed: int) -> int:
    """Of the episodes that nothing was chosen by."""
    return seed_for(seed, "evaluation", "result")


@dataclass(frozen=True)
class Played:
    """n episodes, `rows`. returns, lengths: [n] float64."""

    returns: Tensor
    lengths: Tensor
    rows: Trajectories

    @property
    def obs(self) -> Tensor:
        """What was seen on the way.  [N, *O]"""
        return self.rows.obs[:, :-1][self.rows.chosen]

    @property
    def mean(self) -> float:
        return float(self.returns.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Where 95 % of the means of as many episodes, drawn from these with replacement, lie: the
        percentile bootstrap.
        """
        drawn = np.random.default_rng(0).integers(
            len(self.returns), size=(RESAMPLES, len(self.returns))
        )
        low, high = np.quantile(self.returns.numpy()[drawn].mean(1), [0.025, 0.975])
        return float(low), float(high)


class _Playing:
    """Acts by a function of what is seen."""

    def __init__(self, acts: Callable[[Tensor], Tensor]) -> None:
        self.acts = acts

    def act(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, None]:
        return self.acts(obs), None


def play_episodes(world: World, acts: Callable[[Tensor], Tensor], seed: int) -> Played:
    """One episode in each copy. acts: obs [n, *O] -> action [n, *A]. Raises UserError for one that
    does not end.
    """
    rows = next(WholeEpisodes(world, _Playing(acts), Stopwatch(), seed=seed))
    lengths = rows.chosen.sum(1).double()
    return Played(rows.reward.double().sum(1), lengths, rows)
