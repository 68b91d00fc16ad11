"""Says the bound as it rises: at the steps 1, 2, 4, 8, … and at the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class SpokenBound:
    """An algorithm whose bound is said."""

    def __init__(self, algorithm: Any, say: Callable[[str], None]) -> None:
        self.algorithm, self.say = algorithm, say
        self.step, self.bound, self.said = 0, 0.0, 0

    @property
    def unfinished(self) -> Any:
        return self.algorithm.unfinished

    def update(self, batch: Any, between_steps: Callable[[], None] = lambda: None) -> Any:
        figures = self.algorithm.update(batch, between_steps)
        self.step, self.bound = self.step + 1, figures["elbo"]
        if self.step & (self.step - 1) == 0:
            self.say_bound()
        return figures

    def say_bound(self) -> None:
        """Of the last step, unless it was said."""
        if self.said != self.step:
            self.say(f"fit: step {self.step}: bound {self.bound:.4f} nats a point")
            self.said = self.step

    def state_dict(self) -> dict[str, Any]:
        return {
            "algorithm": self.algorithm.state_dict(),
            "step": self.step, "bound": self.bound, "said": self.said,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.algorithm.load_state_dict(state["algorithm"])
        self.step, self.bound, self.said = state["step"], state["bound"], state["said"]
