"""Watches black-box inference: how much each estimator of its gradient varies, at the steps 0, 1,
2, 4, 8, …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fledge.algorithms.latent.black_box_vi import BlackBoxVI
from fledge.algorithms.latent.gradient_variances import measure_variances


class WatchedGradients:
    """The algorithm, and its estimators' variances by step.

    steps: when they were measured. variances: by estimator, one for each of `steps`.
    """

    def __init__(self, algorithm: BlackBoxVI) -> None:
        self.algorithm = algorithm
        self.step = 0
        self.steps: list[int] = []
        self.variances: dict[str, list[float]] = {}

    @property
    def unfinished(self) -> Any:
        return self.algorithm.unfinished

    def update(self, batch: Any, between_steps: Callable[[], None] = lambda: None) -> Any:
        if not self.step:
            self._measure()
        figures = self.algorithm.update(batch, between_steps)
        self.step += 1
        if self.step & (self.step - 1) == 0:
            self._measure()
        return figures

    def _measure(self) -> None:
        own = self.algorithm
        assert own.family is not None
        assert own.target is not None
        assert own.points is not None
        made = measure_variances(
            own.family, own.target, own.points, own.settings.samples, own.seed % 2**31
        )
        self.steps.append(self.step)
        for name, value in made.items():
            self.variances.setdefault(name, []).append(value)

    def summarise(self) -> dict[str, Any]:
        """For the summary; the report draws it."""
        return {"samples": self.algorithm.settings.samples, "step": self.steps, **self.variances}

    def state_dict(self) -> dict[str, Any]:
        return {
            "algorithm": self.algorithm.state_dict(), "step": self.step,
            "steps": self.steps, "variances": self.variances,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.algorithm.load_state_dict(state["algorithm"])
        self.step, self.steps = state["step"], list(state["steps"])
        self.variances = {name: list(each) for name, each in state["variances"].items()}
