"""A user's own model of something unseen in a run: what it leaves out is added, and what goes wrong
in it is said with its file.

    class Mine:
        def __init__(self, settings, seed): ...
        def update(self, x): ...          # x [N, D] float64 -> {"elbo": nats a point, …}
        def log_prob(self, x): ...        # -> [N]
        def state_dict(self): ...         # tensors by name: what a run saves and reads again
        def load_state_dict(self, state): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.algorithms.own import OwnClass
from fledge.errors import UserError
from fledge.rows.points import Points
from fledge.sample.points import Block
from fledge.stopwatch import Stopwatch
from fledge.user_code import call

TOLERANCE = 1e-5  # nats a point, where its settings have none
NEEDED = ("log_prob", "state_dict", "load_state_dict")


class OwnModel:
    """What is saved of it: its tensors. It is read again by the file that it came from."""

    def __init__(self, own: OwnLatent) -> None:
        self.own = own

    def log_prob(self, x: Tensor) -> Tensor:
        return self.own.log_prob(x)

    def count_parameters(self) -> int:
        return sum(each.numel() for each in self.tensors().values())

    def card(self) -> dict[str, Any]:
        return {"model": f"{self.own.kind.path}:{self.own.kind.kind.__name__}"}

    def tensors(self) -> dict[str, Tensor]:
        kept = self.own.state_dict()["own"]
        return {
            str(name): each.contiguous().clone()
            for name, each in kept.items()
            if isinstance(each, Tensor)
        }

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> OwnModel:
        raise UserError(
            f"{card['model']} is a class of yours: make it and give its load_state_dict the "
            "tensors of model.safetensors."
        )


class OwnLatent:
    """Raises UserError for a class that lacks what a run needs."""

    unfinished = None

    def __init__(
        self, kind: OwnClass, settings: Any, *, seed: int, stopwatch: Stopwatch | None = None
    ) -> None:
        lacks = [name for name in NEEDED if not callable(getattr(kind.kind, name, None))]
        if lacks:
            raise UserError(
                f"{kind.path}: {kind.kind.__name__} has no {', no '.join(lacks)}: a model of "
                "`fledge fit` has update(x), log_prob(x), state_dict() and load_state_dict(state)."
            )
        self.kind, self.stopwatch = kind, stopwatch or Stopwatch()
        self.tolerance = float(getattr(settings, "tolerance", TOLERANCE))
        self.algorithm = kind.build(settings=settings, seed=seed)
        self.model = OwnModel(self)
        self.elbo, self.done = -torch.inf, False

    def begin(self, points: Points) -> None:
        """It begins in its first update."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Raises UserError where it gives another shape than [N]."""
        each = call(self.kind.path, "log_prob", self.algorithm.log_prob, "on points", x)
        if not isinstance(each, Tensor) or each.shape != (len(x),):
            shape = list(each.shape) if isinstance(each, Tensor) else type(each).__name__
            raise UserError(
                f"{self.kind.path}: log_prob(x) returned {shape} for {len(x)} points: return a "
                f"tensor [{len(x)}]."
            )
        return each

    def log_likelihood(self, points: Points) -> float:
        each = self.log_prob(points.x)
        return float(each.sum() if points.weight is None else each @ points.weight)

    def update(
        self, batch: Block, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """One update of it.  Raises UserError where it gives no `elbo`."""
        with self.stopwatch.phase("fit"):
            update = self.algorithm.update
            figures = call(self.kind.path, "update", update, "on points", batch.points.x)
            if not isinstance(figures, Mapping) or "elbo" not in figures:
                raise UserError(
                    f'{self.kind.path}: update(x) returned no "elbo": return a dict of figures, '
                    'the bound in nats a point as {"elbo": …}.'
                )
            plain = {str(name): float(value) for name, value in figures.items()}
            self.done = plain["elbo"] - self.elbo < self.tolerance
            self.elbo = plain["elbo"]
            return plain

    def state_dict(self) -> dict[str, Any]:
        own = call(self.kind.path, "state_dict", self.algorithm.state_dict, "as it was saved")
        return {"own": dict(own), "counts": [self.elbo, self.done]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load = self.algorithm.load_state_dict
        call(self.kind.path, "load_state_dict", load, "as the run was continued", state["own"])
        self.elbo, self.done = state["counts"]
