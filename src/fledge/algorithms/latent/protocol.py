"""What a run asks of an algorithm that infers something unseen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fledge.models.latent.latent_model import LatentModel
from fledge.rows.points import Points
from fledge.sample.points import Block


class LatentAlgorithm(Protocol):
    """Made of (settings, seed=, stopwatch=). `update` returns `elbo`, the bound in nats a point,
    and whatever else is worth a curve.

    model: as the last step left it; None before `begin`, which `update` calls where nobody did.
    done: whether the last step raised the bound by less than the tolerance. unfinished: None, for a
    step is never saved in its middle: `between_steps` is not called.
    """

    @property
    def model(self) -> LatentModel | None: ...
    @property
    def done(self) -> bool: ...
    @property
    def unfinished(self) -> Any: ...
    def begin(self, points: Points) -> None: ...
    def update(self, batch: Block, between_steps: Callable[[], None] = ...) -> dict[str, float]: ...
    def log_likelihood(self, points: Points) -> float:
        """Σ_n w_n log p(x_n) under the model as it is."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
