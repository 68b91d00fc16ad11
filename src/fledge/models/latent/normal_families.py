"""Families of approximate posteriors made of normals: independent, one, a mixture of them.

Of normals z = f(ε; φ); a mixture, which no smooth f makes, is drawn implicitly (Figurnov, Mohamed &
Mnih 2018, eq. 6 and §3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fledge.models.latent.gaussian_mixture import LOG_2PI
from fledge.models.latent.variational_family import VariationalFamily


class IndependentNormals(VariationalFamily):
    """Π_i N(z_i; μ_i, σ_i²): the mean field."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.mean = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.log_sd = nn.Parameter(torch.zeros(width, dtype=torch.float64))

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        return self.mean + self.log_sd.exp() * self._noise(samples, generator)

    def log_prob_each(self, z: Tensor) -> Tensor:
        """log q(z_i).  [n, d] -> [n, d]"""
        return normal_log_prob(z, self.mean, self.log_sd)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.log_prob_each(z).sum(1)


class OneNormal(VariationalFamily):
    """N(z; μ, L Lᵀ), L lower triangular."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.mean = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.log_diagonal = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.below = nn.Parameter(torch.zeros(width, width, dtype=torch.float64))

    def root(self) -> Tensor:
        """L.  [d, d]"""
        return self.below.tril(-1) + torch.diag(self.log_diagonal.exp())

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        return self.mean + self._noise(samples, generator) @ self.root().T

    def log_prob(self, z: Tensor) -> Tensor:
        noise = torch.linalg.solve_triangular(self.root(), (z - self.mean).T, upper=False)
        constant = self.log_diagonal.sum() + 0.5 * self.width * LOG_2PI
        return -0.5 * noise.square().sum(0) - constant


class NormalsMixed(VariationalFamily):
    """Σ_k π_k Π_i N(z_i; μ_ki, σ_ki²)."""

    def __init__(self, width: int, components: int, generator: torch.Generator) -> None:
        super().__init__(width)
        size = (components, width)
        apart = torch.randn(size, generator=generator, dtype=torch.float64)
        self.logits = nn.Parameter(torch.zeros(components, dtype=torch.float64))
        self.mean = nn.Parameter(apart)
        self.log_sd = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def _draw_plain(self, samples: int, generator: torch.Generator) -> Tensor:
        share = self.logits.softmax(0)
        k = torch.multinomial(share, samples, replacement=True, generator=generator)
        return self.mean[k] + self.log_sd[k].exp() * self._noise(samples, generator)

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        """With F_i(z_i | z_<i; φ) held where it is, dz/dφ = −(∂F/∂z)⁻¹ ∂F/∂φ."""
        z = self._draw_plain(samples, generator)
        if not torch.is_grad_enabled():
            return z
        at = z.clone().requires_grad_()
        level = self.cumulate(at)
        slope = torch.stack(
            [
                torch.autograd.grad(level[:, i].sum(), at, retain_graph=True)[0]
                for i in range(self.width)
            ],
            1,
        )  # [n, d, d], lower triangular, q(z_i | z_<i) on its diagonal
        moved = self.cumulate(z)
        moved = (moved - moved.detach())[:, :, None]
        return z - torch.linalg.solve_triangular(slope, moved, upper=False)[:, :, 0]

    def cumulate(self, z: Tensor) -> Tensor:
        """F_i(z_i | z_<i), which are independent and uniform.  [n, d] -> [n, d]"""
        log_share = self.logits.log_softmax(0).expand(len(z), -1)
        levels = []
        for i in range(self.width):
            apart = (z[:, i, None] - self.mean[:, i]) / self.log_sd[:, i].exp()
            levels.append((log_share.softmax(1) * torch.special.ndtr(apart)).sum(1))
            one = -0.5 * (apart.square() + LOG_2PI) - self.log_sd[:, i]
            log_share = log_share + one
        return torch.stack(levels, 1)

    def log_prob(self, z: Tensor) -> Tensor:
        each = normal_log_prob(z[:, None, :], self.mean, self.log_sd).sum(2)  # [n, K]
        return (each + self.logits.log_softmax(0)).logsumexp(1)


def normal_log_prob(z: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """log N(z; mean, sd²), element by element."""
    return -0.5 * (((z - mean) * (-log_sd).exp()).square() + LOG_2PI) - log_sd
