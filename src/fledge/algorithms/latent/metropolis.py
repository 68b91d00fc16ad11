"""Random-walk Metropolis: many chains at once, whose draws are the posterior's in the long run.

Metropolis et al. 1953; the step of 2.4/√d posterior deviations is that of Roberts, Gelman & Gilks
1997, and finds its size in the first half, which is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

RIGHT_SHARE = 0.3  # of proposals that are taken: between 0.23 of many dimensions and 0.44 of one


class Metropolis:
    """z: [chains, d], where they stand. scale: of a proposal. adapting: whether it is still sought;
    a chain that adapts is none of the posterior's.
    """

    def __init__(
        self, log_joint: Callable[[Tensor], Tensor], z: Tensor, generator: torch.Generator
    ) -> None:
        self.log_joint, self.z, self.generator = log_joint, z, generator
        self.value = log_joint(z)
        self.scale, self.adapting, self.steps = 2.4 / z.shape[1] ** 0.5, True, 0

    @torch.no_grad()
    def step(self) -> float:
        """One proposal a chain.  -> the share that was taken"""
        noise = torch.randn(self.z.shape, generator=self.generator, dtype=self.z.dtype)
        proposed = self.z + self.scale * noise
        value = self.log_joint(proposed)
        level = torch.rand(len(value), generator=self.generator, dtype=value.dtype).log()
        taken = level < value - self.value
        self.z = torch.where(taken[:, None], proposed, self.z)
        self.value = torch.where(taken, value, self.value)
        share = float(taken.double().mean())
        self.steps += 1
        if self.adapting:
            self.scale *= float(torch.tensor((share - RIGHT_SHARE) / self.steps**0.5).exp())
        return share
