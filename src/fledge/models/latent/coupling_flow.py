"""A flow as an approximate posterior: affine couplings of a normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fledge.models.latent.gaussian_mixture import LOG_2PI
from fledge.models.latent.normal_families import IndependentNormals
from fledge.models.latent.variational_family import VariationalFamily


class Coupling(nn.Module):
    """Half of the coordinates shifted and scaled by what a small network makes of the other half
    (Dinh, Sohl-Dickstein & Bengio 2017, eqs. 4–8). At first it changes nothing.
    """

    def __init__(self, width: int, hidden: int, odd: bool, generator: torch.Generator) -> None:
        super().__init__()
        place = torch.arange(width)
        self.kept = place[place % 2 == int(odd)]
        self.moved = place[place % 2 != int(odd)]
        inside = len(self.kept)
        first = torch.randn(hidden, inside, generator=generator, dtype=torch.float64)
        self.first = nn.Parameter(first / math.sqrt(max(1, inside)))
        self.bias = nn.Parameter(torch.zeros(hidden, dtype=torch.float64))
        self.last = nn.Parameter(torch.zeros(2 * len(self.moved), hidden, dtype=torch.float64))
        self.offset = nn.Parameter(torch.zeros(2 * len(self.moved), dtype=torch.float64))

    def _read(self, z: Tensor) -> tuple[Tensor, Tensor]:
        inside = (z[:, self.kept] @ self.first.T + self.bias).tanh()
        shift, scale = (inside @ self.last.T + self.offset).chunk(2, 1)
        return shift, 2 * (scale / 2).tanh()  # no coordinate grows more than e² a layer

    def go(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """-> f(z) [n, d], log |det ∂f/∂z| [n]"""
        shift, scale = self._read(z)
        out = z.index_copy(1, self.moved, z[:, self.moved] * scale.exp() + shift)
        return out, scale.sum(1)

    def go_back(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """-> f⁻¹(z) [n, d], log |det ∂f⁻¹/∂z| [n]"""
        shift, scale = self._read(z)
        out = z.index_copy(1, self.moved, (z[:, self.moved] - shift) * (-scale).exp())
        return out, -scale.sum(1)


class Flow(VariationalFamily):
    """z = μ + σ f_L(… f_1(ε)), ε standard normal, f affine couplings of alternate halves."""

    def __init__(self, width: int, layers: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__(width)
        self.ends = IndependentNormals(width)
        self.layers = nn.ModuleList(
            Coupling(width, hidden, bool(layer % 2), generator) for layer in range(layers)
        )

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        z = self._noise(samples, generator)
        for layer in self.layers:
            z, _ = layer.go(z)  # pyright: ignore[reportCallIssue]
        return self.ends.mean + self.ends.log_sd.exp() * z

    def log_prob(self, z: Tensor) -> Tensor:
        z = (z - self.ends.mean) * (-self.ends.log_sd).exp()
        log_det = -self.ends.log_sd.sum()
        for layer in reversed(list(self.layers)):
            z, more = layer.go_back(z)  # pyright: ignore[reportCallIssue]
            log_det = log_det + more
        return log_det - 0.5 * (z.square() + LOG_2PI).sum(1)
