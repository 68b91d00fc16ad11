"""A scene whose rewards are inferred: iteration by iteration, beside the true ones where they are
known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fledge.evaluate.judge import Figures
from fledge.plan.minds.reward_inference import RewardInference, act_best, earn
from fledge.plan.minds.reward_scene import RewardScene
from fledge.recipes.minds.telling import Table, write_table
from fledge.report.grid_picture import MOST_PLACES, draw_grid
from fledge.runs.atomic import write_text
from fledge.worlds.gridworld import Gridworld

PICTURE = "rewards.svg"
MOST_LISTED = 20


class RewardInquiry:
    unfinished = None
    figure = ranks = "counts_apart"

    def __init__(self, scene: RewardScene) -> None:
        self.scene = scene
        self.inference = RewardInference(
            scene.transition, scene.start, scene.features, scene.counts, scene.steps,
            kind="causal" if scene.causal else "maximum", gamma=scene.gamma,
            learning_rate=scene.learning_rate, penalty=scene.penalty,
        )  # fmt: skip
        self.total = scene.iterations

    def update(self, batch: Any, between_steps: Any = None) -> Figures:
        return {"counts_apart": self.inference.update()}

    def state_dict(self) -> dict[str, Any]:
        return self.inference.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inference.load_state_dict(state)

    def describe(self) -> str:
        scene = self.scene
        of = f"{scene.shown} walks" if scene.shown else "all walks that an expert could take"
        kind = "causal entropy" if scene.causal else "entropy"
        return (
            f"{scene.start.shape[1]} places, {len(scene.names)} features, {of}, maximum {kind} "
            f"over {scene.steps} steps"
        )

    def judge(self) -> Figures:
        figures = {"counts_apart": float(self.inference.gradient().abs().max())}
        if self.scene.reward is not None:
            figures |= self.measure()
        return figures

    def measure(self) -> dict[str, float]:
        """What is earned a walk by the true rewards: by the model, which goes where the expert goes
        as often; by the best policy of the inferred rewards, which never errs; by the best.
        """
        scene, true = self.scene, self.scene.reward
        assert true is not None
        policies = {
            "model_earns": self.inference.model.log_policy.exp(),
            "earned": act_best(scene.transition, self.inference.reward, scene.steps, scene.gamma),
            "best_earns": act_best(scene.transition, true, scene.steps, scene.gamma),
        }
        return {
            name: float(earn(scene.transition, scene.start, policy, true, scene.gamma))
            for name, policy in policies.items()
        }

    def conclude(self, folder: Path) -> tuple[dict[str, Any], Sequence[str]]:
        scene = self.scene
        weights = self.inference.weight[0].tolist()
        own: dict[str, Any] = {
            "scene": scene.title, "worth": dict(zip(scene.names, weights, strict=True)),
        }  # fmt: skip
        order = sorted(range(len(weights)), key=lambda i: -weights[i])[:MOST_LISTED]
        model = torch.einsum(
            "wsf,ws->wf", scene.features, self.inference.model.counts(scene.gamma)
        )[0].tolist()
        rows = [
            [scene.names[i], f"{weights[i]:.3f}", f"{float(scene.counts[0, i]):.3f}",
             f"{model[i]:.3f}"] for i in order
        ]  # fmt: skip
        note = (
            "what each is worth, up to a number that all may have more; how often the expert is "
            "there in a walk, and the model"
        )
        table = Table("Rewards", note, ["", "worth", "expert", "model"], rows)
        lines = write_table(table)
        if scene.reward is not None:
            told = self.measure()
            lines.append(
                f"minds: by the true rewards the best policy of the inferred ones earns "
                f"{told['earned']:.3f} a walk, of {told['best_earns']:.3f} that can be earned; the "
                f"model, which errs as the expert does, {told['model_earns']:.3f}"
            )
        if scene.floor.numel() <= MOST_PLACES:
            write_text(folder / PICTURE, self.draw())
        return own | {"tables": [vars(table)]}, lines

    def draw(self) -> str:
        """The inferred rewards on the map, less their mean; arrows: the best first step."""
        scene = self.scene
        nothing = torch.zeros(scene.floor.shape)
        grid = Gridworld(scene.floor, nothing.bool(), nothing, scene.floor)
        reward = self.inference.reward
        best = act_best(scene.transition, reward, scene.steps, scene.gamma)[0, 0].argmax(-1)
        arrows = torch.where(best < 4, best, -1)
        return draw_grid(
            grid, grid.on_map((reward - reward.mean())[0], 0.0), grid.on_map(arrows, -1),
            "what pays, as inferred",
        )  # fmt: skip
