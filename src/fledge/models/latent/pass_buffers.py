"""What a pass of a mixture of normals writes into: buffers of a chunk, and sums over chunks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


class Buffers:
    """What one thread writes a chunk into: monomials [P, chunk], responsibilities [K, chunk]."""

    def __init__(
        self, monomials: int, components: int, chunk: int, width: int, dtype: torch.dtype
    ) -> None:
        self.monomials = torch.empty(monomials, chunk, dtype=dtype)
        self.monomials[0] = 1
        self.share = torch.empty(components, chunk, dtype=dtype)
        # coordinates are subtracted in double precision, whatever is multiplied in single
        self.z = torch.empty(width, chunk, dtype=torch.float64)
        self.sums = torch.empty(monomials, components, dtype=dtype)


@dataclass
class Sums:
    """Of some chunks: responsibilities with monomials [K, P]; tied: z zᵀ [D, D]; of each narrow
    component its first and second moment about its mean; Σ w log p(z), less `top`; how many points
    are in them.
    """

    linear: Tensor
    total: Tensor
    narrow: Tensor
    density: float = 0.0
    points: int = 0

    def add(self, other: Sums) -> None:
        self.linear += other.linear
        self.total += other.total
        self.narrow += other.narrow
        self.density += other.density
        self.points += other.points
