"""An algorithm whose policy counts in what it has seen, once it has learned from it: while a batch
is acted out and learned from, the statistics that observations are divided by stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fledge.models.control.actor_critic import Encoder, moments_of
from fledge.trajectories import Trajectories


def see_what_came(batch: Trajectories) -> Tensor:
    """Of rows that run on from batch to batch: what every step led to.  -> [N, *O]"""
    return batch.obs[:, 1:].flatten(0, 1)


def see_what_was_chosen_at(batch: Trajectories) -> Tensor:
    """Of whole episodes, which are padded: where something was chosen.  -> [N, *O]"""
    return batch.obs[:, :-1][batch.chosen]


class Observing:
    """State: the algorithm's; and the moments of what was seen in the batch that an update is in
    the middle of, for what the algorithm has made of it no longer says.
    """

    def __init__(
        self, algorithm: Any, encoder: Encoder, seen: Callable[[Trajectories], Tensor]
    ) -> None:
        """encoder: the policy's. seen: which observations of a batch count."""
        self.algorithm, self.encoder, self.seen = algorithm, encoder, seen
        self.moments: Tensor | None = None

    @property
    def unfinished(self) -> Any:
        return self.algorithm.unfinished

    def update(
        self, batch: Any, between_steps: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        if self.unfinished is None:
            self.moments = moments_of(self.seen(batch))
        figures = self.algorithm.update(batch, between_steps)
        if self.moments is not None:
            self.encoder.observe(self.moments.to(self.encoder.mean.device))
        self.moments = None
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {"algorithm": self.algorithm.state_dict(), "moments": self.moments}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.algorithm.load_state_dict(state["algorithm"])
        self.moments = state["moments"]
