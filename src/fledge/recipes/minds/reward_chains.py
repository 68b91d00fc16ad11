"""A scene whose rewards are inferred as a posterior: each kind of ground with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fledge.evaluate.judge import Figures
from fledge.plan.minds.reward_posterior import RewardPosterior
from fledge.plan.minds.reward_scene import RewardScene
from fledge.recipes.minds.telling import Table, write_table
from fledge.seeds import generator_for

ENDS = (0.025, 0.975)
MOST_LISTED = 20


class RewardChains:
    unfinished = None
    figure = ranks = "taken"

    def __init__(self, scene: RewardScene, seed: int) -> None:
        self.scene, self.total = scene, scene.iterations
        self.posterior = RewardPosterior(
            scene.transition, scene.features, scene.shown * scene.acts, chains=scene.chains,
            spread=scene.spread, total=scene.iterations,
            generator=generator_for(seed, "noise", "chains"),
        )  # fmt: skip

    def update(self, batch: Any, between_steps: Any = None) -> Figures:
        taken = self.posterior.update()
        return {"taken": taken, "stride": float(self.posterior.stride)}

    def state_dict(self) -> dict[str, Any]:
        return self.posterior.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.posterior.load_state_dict(state)

    def describe(self) -> str:
        scene = self.scene
        return (
            f"{scene.start.shape[1]} places, {len(scene.names)} features, {scene.shown} walks, "
            f"{scene.chains} chains of {scene.iterations} steps"
        )

    def judge(self) -> Figures:
        return {"taken": self.posterior.taken}

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
        every = self.posterior.gather()
        flat = every.flatten(0, 1)
        mean = flat.mean(0)
        # torch.quantile takes no more than 16 million numbers.
        low, high = np.quantile(flat.numpy(), ENDS, axis=0)
        told = {
            name: {"mean": float(mean[i]), "low": float(low[i]), "high": float(high[i])}
            for i, name in enumerate(self.scene.names)
        }
        rows = [
            [name, f"{each['mean']:.3f}", f"{each['low']:.3f} to {each['high']:.3f}"]
            for name, each in sorted(told.items(), key=lambda one: -one[1]["mean"])[:MOST_LISTED]
        ]
        own: dict[str, Any] = {"scene": self.scene.title, "worth": told}
        note = "worth less the mean over all; what holds 95 % of the posterior"
        if not self.posterior.kept:
            note = "worth less the mean over all; stopped before the chains had found their way"
        if len(every) > 1 and self.scene.chains > 1:
            own["chains_apart"] = measure_mixing(every)
            note += (
                f"; how far chains are apart, at the worst (R̂, 1: not at all): "
                f"{own['chains_apart']:.3f}"
            )
        table = Table("Rewards", note, ["", "mean", "95 %"], rows)
        return own | {"tables": [vars(table)]}, write_table(table)


def measure_mixing(every: torch.Tensor) -> float:
    """The largest R̂ = √((n − 1)/n + B/W) of all features (Gelman & Rubin 1992).  [n, C, F]"""
    n = len(every)
    within = every.var(0).mean(0)
    between = every.mean(0).var(0)
    return float(((n - 1) / n + between / within.clamp(min=1e-300)).sqrt().max())
