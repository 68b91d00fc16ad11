"""A linear-Gaussian state space: a point that moves and is not seen, and a noisy look at it at each
step. Roweis & Ghahramani 1999; factor analysis is the same without the motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.models.latent.hidden_markov import read_lengths
from fledge.models.latent.kalman import (
    Dynamics,
    Filtered,
    compute_gains,
    filter_points,
    list_covariances,
    smooth_points,
)
from fledge.models.latent.kalman_missing import FilteredApart, filter_missing, smooth_missing
from fledge.models.latent.step_order import StepOrder, order_steps

NAMES = ("start", "spread", "transition", "drift", "loading", "offset", "noise")


@dataclass(frozen=True)
class StateSpace:
    """z_1 ~ N(start, spread), z_t = transition z_{t−1} + N(0, drift), x_t = loading z_t + offset +
    N(0, noise); float64.

    Of observations x: [N, D], NaN where one is missing, sequences one after the other, `lengths`
    long; without lengths they are one sequence.
    """

    start: Tensor
    spread: Tensor
    transition: Tensor
    drift: Tensor
    loading: Tensor
    offset: Tensor
    noise: Tensor

    @cached_property
    def dynamics(self) -> Dynamics:
        return Dynamics(**{name: getattr(self, name).numpy() for name in NAMES})

    @property
    def size(self) -> int:
        """n."""
        return len(self.start)

    @property
    def width(self) -> int:
        """D."""
        return len(self.offset)

    def count_parameters(self) -> int:
        """Free numbers: coordinates of the state are arbitrary, n² of them."""
        n, D = self.size, self.width
        diagonal = bool((self.noise == torch.diag(self.noise.diagonal())).all())
        noise = D if diagonal else D * (D + 1) // 2
        return n + n * (n + 1) + n * n + D * n + D + noise - n * n

    def log_prob(self, x: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """log p of every sequence, in nats.  -> [S]"""
        return torch.from_numpy(self._filter(x, order_steps(read_lengths(len(x), lengths))).log_p)

    def filter(self, x: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """E[z_t | x_1 … x_t].  -> [N, n]"""
        steps = order_steps(read_lengths(len(x), lengths))
        return torch.from_numpy(steps.restore(self._filter(x, steps).mean))

    def _filter(self, x: Tensor, steps: StepOrder) -> Filtered | FilteredApart:
        ordered = self.check(x).numpy()[steps.order]
        run = filter_missing if bool(x.isnan().any()) else filter_points
        return run(self.dynamics, ordered, steps)

    def infer(self, x: Tensor, lengths: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """E[z_t | x_1 … x_T] [N, n] and Cov[z_t | x_1 … x_T] [N, n, n]."""
        numbers = read_lengths(len(x), lengths)
        steps = order_steps(numbers)
        ordered = self.check(x).numpy()[steps.order]
        if bool(x.isnan().any()):
            apart, each = smooth_missing(self.dynamics, ordered, steps)
            return (
                torch.from_numpy(steps.restore(apart.mean)),
                torch.from_numpy(steps.restore(each)),
            )
        done = smooth_points(self.dynamics, ordered, steps)
        gains = compute_gains(self.dynamics, max(numbers))
        covariance = np.concatenate([list_covariances(gains, length) for length in numbers])
        return torch.from_numpy(steps.restore(done.mean)), torch.from_numpy(covariance)

    def check(self, x: Tensor) -> Tensor:
        """The same. Raises UserError for observations of another width, and infinite ones."""
        if x.ndim != 2 or x.shape[1] != self.width or bool(x.isinf().any()):
            raise UserError(
                f"observations have shape {list(x.shape)} or one is infinite, and the model is of "
                f"{self.width} columns: give [N, {self.width}] of numbers, NaN where one is "
                "missing."
            )
        return x

    def sample(self, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One sequence, and its states.  -> [T, D], [T, n]"""
        draw = torch.randn(steps, self.size, generator=generator, dtype=torch.float64)
        noise = torch.randn(steps, self.width, generator=generator, dtype=torch.float64)
        drift = torch.linalg.cholesky(self.drift)
        state = torch.empty_like(draw)
        z = self.start + torch.linalg.cholesky(self.spread) @ draw[0]
        for t in range(steps):
            if t:
                z = self.transition @ z + drift @ draw[t]
            state[t] = z
        x = state @ self.loading.T + self.offset + noise @ torch.linalg.cholesky(self.noise).T
        return x, state

    def card(self) -> dict[str, Any]:
        return {"model": "kalman"}

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).contiguous().clone() for name in NAMES}

    @classmethod
    def restore(cls, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> StateSpace:
        return cls(*(tensors[name] for name in NAMES))
