"""What the M-step of a mixture of normals needs of the data, and nothing else: its sufficient
statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Σ_n r_nk (1, y, y yᵀ) with y = z_n − c_k.

    count: [K]. first: [K, D]. second: [K, D, D]; of one covariance for all [D, D], summed over k;
    of variances [K, D]. centre: c [K, D]. entropy: Σ_n H(q_n), in nats.
    """

    count: Tensor
    first: Tensor
    second: Tensor
    centre: Tensor
    entropy: float

    def __post_init__(self) -> None:
        # As a checkpoint keeps them: products of another layout have other last bits.
        for name in ("count", "first", "second", "centre"):
            object.__setattr__(self, name, getattr(self, name).contiguous())

    def move(self, centre: Tensor) -> Moments:
        """The same sums about other centres: Σ r (y+d)(y+d)ᵀ written out."""
        d = self.centre - centre  # [K, D]
        first = self.first + self.count[:, None] * d
        if self.second.shape == self.first.shape:
            second = self.second + 2 * d * self.first + self.count[:, None] * d.square()
        elif self.second.ndim == 2:
            across = self.first.T @ d
            second = self.second + across + across.T + (d * self.count[:, None]).T @ d
        else:
            across = self.first[:, :, None] * d[:, None, :]
            outer = d[:, :, None] * d[:, None, :]
            second = self.second + across + across.mT + self.count[:, None, None] * outer
        return Moments(self.count, first, second, centre, self.entropy)

    def mix(self, other: Moments, own: float, others: float) -> Moments:
        """own · these + others · those, about these centres."""
        other = other.move(self.centre)
        return Moments(
            own * self.count + others * other.count,
            own * self.first + others * other.first,
            own * self.second + others * other.second,
            self.centre,
            own * self.entropy + others * other.entropy,
        )

    def as_tied(self) -> Moments:
        """With the second moment summed over components."""
        return Moments(self.count, self.first, self.second.sum(0), self.centre, self.entropy)

    def state(self) -> dict[str, Any]:
        return {**vars(self)}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Moments:
        return cls(**state)
