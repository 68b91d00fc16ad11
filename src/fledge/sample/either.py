"""Batches from one of two samplers, by lot: on-policy distillation takes some from the student and
the rest from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fledge.seeds import seed_for
from fledge.trajectories import Trajectories


class Either:
    """Endless batches of which a share comes from the first sampler. Which one is a pure function
    of (seed, position).

    figures: those of the sampler that was taken, each behind its name.
    """

    def __init__(
        self, first: Any, second: Any, *, names: tuple[str, str], share: float, seed: int
    ) -> None:
        self.first, self.second, self.names, self.share = first, second, names, share
        self.key = seed_for(seed, "data", "turns")
        self.position = 0
        self.figures: dict[str, float] = {}

    def __next__(self) -> Trajectories:
        random = np.random.Generator(
            np.random.Philox(key=self.key, counter=[0, 0, 2, self.position])
        )
        taken = random.random() < self.share
        self.position += 1
        name, sampler = (self.names[0], self.first) if taken else (self.names[1], self.second)
        batch = next(sampler)
        self.figures = {f"{name}_{figure}": value for figure, value in sampler.figures.items()}
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {
            "position": self.position,
            "first": self.first.state_dict(),
            "second": self.second.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]
        self.first.load_state_dict(state["first"])
        self.second.load_state_dict(state["second"])
