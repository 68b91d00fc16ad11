"""Two critics of the same state and action, Q₁ and Q₂: the smaller of them is less often too large
(Fujimoto et al. 2018, eq. 10).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fledge.models.control.actor_critic import Encoder
from fledge.models.control.mlp import mlp
from fledge.models.control.squashed_actor import Bounds
from fledge.worlds.world import Space


class TwinCritic(nn.Module):
    """Perceptrons over the observation and the action, the latter in units of its bounds."""

    def __init__(
        self,
        observation: Space,
        action: Space,
        *,
        generator: torch.Generator,
        widths: Sequence[int] = (256, 256),
        encoder: Encoder | None = None,
    ) -> None:
        """widths: of the hidden layers. encoder: normalises what actor and critics see alike;
        without it they see it as it is.

        Raises UserError as `Bounds` does.
        """
        super().__init__()
        self.bounds, self.encoder = Bounds(action), encoder or Encoder(observation, normalise=False)
        sizes = (self.encoder.width + self.bounds.width, *widths, 1)
        self.networks = nn.ModuleList(
            mlp(sizes, generator=generator, activation=nn.ReLU) for _ in range(2)
        )

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """[N, *O], [N, *A] -> [2, N]"""
        both = self._both(obs, action)
        return torch.cat([network(both) for network in self.networks], -1).T

    def first(self, obs: Tensor, action: Tensor) -> Tensor:
        """Q₁ alone.  [N, *O], [N, *A] -> [N]"""
        return self.networks[0](self._both(obs, action)).squeeze(-1)

    def _both(self, obs: Tensor, action: Tensor) -> Tensor:
        return torch.cat([self.encoder(obs), self.bounds.to_unit(action)], -1)

    @contextmanager
    def hold_still(self) -> Iterator[None]:
        """What is computed inside has a gradient for the action and none for the critics."""
        self.requires_grad_(False)
        try:
            yield
        finally:
            self.requires_grad_(True)
