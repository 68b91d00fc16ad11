"""Features as whole numbers: the nearest of some codes that follow the features (van den Oord,
Vinyals & Kavukcuoglu 2017, arXiv:1711.00937), or each number rounded (Mentzer et al. 2023,
arXiv:2309.15505).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

DECAY = 0.99  # of what the codes remember (van den Oord et al. 2017, appendix A.1)
SMOOTH = 1e-5  # uses that a code has had beside those counted, so that none is divided by zero
SLACK = 1e-3  # by which a bounded number goes beyond its outermost levels, which round it back
# Times as many uses as it must keep are a code's that begins anew: it has 40 steps to be chosen.
FRESH = 1.5


class NearestCode(nn.Module):
    """`size` codes of so many numbers. They are no parameters: they are the running means of the
    features that chose them.
    """

    codes: Tensor
    uses: Tensor
    sums: Tensor
    begun: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size, self.width = size, width
        self.register_buffer("codes", torch.randn(size, width))
        self.register_buffer("uses", torch.ones(size))
        self.register_buffer("sums", self.codes.clone())
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def read(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The place of the nearest code, and the code.  [N, D] -> [N], [N, D]"""
        z = z.detach().float()
        far = self.codes.square().sum(1) - 2 * z @ self.codes.T  # and ‖z‖², which is every code's
        places = far.argmin(1)
        return places, self.codes[places]

    def quantise(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Straight through: forwards the code, backwards as if it were z.  [N, D] -> [N], [N, D],
        and the commitment ‖z − code‖² of each, [N]
        """
        places, code = self.read(z)
        commitment = (z.float() - code).square().sum(1)
        return places, z + (code - z).detach(), commitment

    def look_up(self, places: Tensor) -> Tensor:
        """[…] -> […, D]"""
        return self.codes[places]

    @torch.no_grad()
    def follow(self, z: Tensor, restart_below: float, generator: torch.Generator) -> int:
        """Move the codes by the features of a whole step, [N, D]. A code whose running uses fall
        below `restart_below` of an equal share begins anew at a feature drawn from the step
        (Dhariwal et al. 2020, arXiv:2005.00341, §3.1).  -> how many began anew
        """
        z = z.float()
        least = restart_below * len(z) / self.size
        if not self.begun:
            self.begun.fill_(True)
            self._begin(torch.ones_like(self.uses, dtype=torch.bool), z, least, generator)
            return self.size
        places, _ = self.read(z)
        uses = torch.zeros_like(self.uses).index_add_(0, places, torch.ones_like(z[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, places, z)
        self.uses.lerp_(uses, 1 - DECAY)
        self.sums.lerp_(sums, 1 - DECAY)
        self.codes.copy_(self.sums / (self.uses + SMOOTH)[:, None])
        dead = self.uses < least
        self._begin(dead, z, least, generator)
        return int(dead.sum())

    def _begin(self, which: Tensor, z: Tensor, least: float, generator: torch.Generator) -> None:
        # Drawn for every code, so that what one gets does not hang on how many others begin anew.
        drawn = torch.randint(len(z), (self.size,), generator=generator)[which.cpu()]
        self.codes[which] = z[drawn.to(z.device)]
        self.uses[which] = FRESH * least
        self.sums[which] = self.codes[which] * (FRESH * least)


class RoundedNumbers(nn.Module):
    """Finite scalar quantisation: number i of a feature is one of levels[i] values, so that there
    are Π levels codes and nothing to be learned.
    """

    levels: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.size, self.width = math.prod(levels), len(levels)
        basis = [math.prod(levels[:place]) for place in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def bound(self, z: Tensor) -> Tensor:
        """Between the outermost levels, 0 … L−1 (Mentzer et al. 2023, §3.1; of an even number of
        levels z = 0 is half a level below the middle, so that it is one of them).
        """
        half = (self.levels - 1) * (1 + SLACK) / 2
        middle = (self.levels - 1) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        return (z.float() - (offset / half).atanh()).tanh() * half + middle

    def quantise(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `NearestCode` does; there is nothing to commit to.  [N, D] -> [N], [N, D], [N]"""
        bounded = self.bound(z)
        rounded = bounded + (bounded.round() - bounded).detach()
        places = (bounded.detach().round().long() * self.basis).sum(1)
        return places, self._scale(rounded), torch.zeros(len(z), device=z.device)

    def look_up(self, places: Tensor) -> Tensor:
        """[…] -> […, D]"""
        return self._scale((places[..., None] // self.basis % self.levels).float())

    def _scale(self, level: Tensor) -> Tensor:
        """0 … L−1 as −1 … 1."""
        return level * (2 / (self.levels - 1)) - 1
