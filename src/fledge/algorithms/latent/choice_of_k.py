"""Several numbers of components, one after the other, each to its end; BIC says which is kept.

Schwarz 1978: BIC = −2 log p(x; θ̂) + p log N, the least is best. The held-out likelihood, which
needs no such argument, stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fledge.algorithms.latent.protocol import LatentAlgorithm
from fledge.models.latent.latent_model import LatentModel
from fledge.rows.points import Points
from fledge.sample.points import Block


class ChoiceOfK:
    """An algorithm made of others. `table`: a row for each k that is done. `model`: the best so
    far, and while the first is at work its own.
    """

    unfinished = None

    def __init__(
        self,
        make: Callable[[int], LatentAlgorithm],
        every_k: Sequence[int],
        steps: int,
        points: Points,
        held_out: Points,
    ) -> None:
        """steps: at most so many for each k. points: that BIC is of."""
        self.make, self.every_k, self.steps = make, list(every_k), steps
        self.points, self.held_out = points, held_out
        self.table: list[dict[str, float]] = []
        self.made = 0  # steps of the present one
        self.current = make(self.every_k[0])
        self.best: LatentAlgorithm | None = None

    @property
    def k(self) -> int:
        """Of the one at work."""
        return self.every_k[min(len(self.table), len(self.every_k) - 1)]

    @property
    def done(self) -> bool:
        return len(self.table) == len(self.every_k)

    @property
    def model(self) -> LatentModel | None:
        return (self.best or self.current).model

    def begin(self, points: Points) -> None:
        self.current.begin(points)

    def log_likelihood(self, points: Points) -> float:
        return (self.best or self.current).log_likelihood(points)

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """A step of the one at work; at its end it is judged, and the next begins."""
        figures = self.current.update(batch, between_steps) | {"k": float(self.k)}
        self.made += 1
        if self.current.done or self.made >= self.steps:
            row = self._judge()
            if self.best is None or row["bic"] < min(each["bic"] for each in self.table):
                self.best = self.current
            self.table.append(row)
            figures |= {"bic": row["bic"], "held_out_log_likelihood": row["held_out"]}
            if not self.done:
                self.current, self.made = self.make(self.k), 0
        return figures

    def _judge(self) -> dict[str, float]:
        model = self.current.model
        assert model is not None
        whole, total = self.current.log_likelihood(self.points), self.points.total
        return {
            "k": float(self.k),
            "bic": bic(whole, model.count_parameters(), total),
            "log_likelihood": whole / total,
            "held_out": self.current.log_likelihood(self.held_out) / self.held_out.total,
        }

    def state_dict(self) -> dict[str, Any]:
        best = None if self.best is None else self.best.state_dict()
        kept = min(self.table, key=lambda row: row["bic"])["k"] if self.table else 0
        return {
            "table": self.table, "made": self.made, "current": self.current.state_dict(),
            "best": best, "best_k": int(kept),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.table, self.made = list(state["table"]), state["made"]
        self.current = self.make(self.k)
        self.current.load_state_dict(state["current"])
        if state["best"] is not None:
            self.best = self.make(state["best_k"])
            self.best.load_state_dict(state["best"])


def bic(log_likelihood: float, parameters: int, points: float) -> float:
    """−2 log p(x) + p log N, in nats."""
    return -2 * log_likelihood + parameters * math.log(points)
