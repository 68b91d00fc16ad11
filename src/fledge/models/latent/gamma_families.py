"""Families of approximate posteriors made of gammas: logarithms of independent gammas, and
log-ratios of a Dirichlet, both over all of ℝ^d.

No smooth function of noise makes a gamma, so its path is implicit: what cumulates up to a draw,
P(a, g), is held where it is while the shape a moves (Figurnov, Mohamed & Mnih 2018, eq. 6).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.special import digamma, gammainc, gammaincc

from fledge.models.latent.variational_family import VariationalFamily

STEP = 1e-3  # of the shape, in deviations of g or as a share: its 4th power errs in a slope
SMALL = -16.0  # log g below which P(a, g) = gᵃ / Γ(a + 1) to 7 digits and more


class LogGammas(VariationalFamily):
    """z_i = log g_i, g_i ~ Gamma(shape a_i, rate b_i): for what is positive, and skewed."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.log_shape = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.log_rate = nn.Parameter(torch.zeros(width, dtype=torch.float64))

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        shape = self.log_shape.exp().expand(samples, -1)
        return draw_log_gamma(shape, generator) - self.log_rate

    def log_prob(self, z: Tensor) -> Tensor:
        shape = self.log_shape.exp()
        scaled = z + self.log_rate
        return (shape * scaled - scaled.exp() - torch.lgamma(shape)).sum(1)


class DirichletRatios(VariationalFamily):
    """z_i = log(x_i / x_{d+1}), x ~ Dirichlet(α) of d + 1 parts: shares, as softmax([z, 0])."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.log_alpha = nn.Parameter(torch.zeros(width + 1, dtype=torch.float64))

    def draw(self, samples: int, generator: torch.Generator) -> Tensor:
        y = draw_log_gamma(self.log_alpha.exp().expand(samples, -1), generator)
        return y[:, :-1] - y[:, -1:]

    def log_prob(self, z: Tensor) -> Tensor:
        """With |∂x/∂z| = Π x_k over all d + 1 parts."""
        alpha = self.log_alpha.exp()
        log_x = torch.cat([z, z.new_zeros(len(z), 1)], 1).log_softmax(1)
        return torch.lgamma(alpha.sum()) - torch.lgamma(alpha).sum() + log_x @ alpha


def draw_log_gamma(shape: Tensor, generator: torch.Generator) -> Tensor:
    """log g, g ~ Gamma(shape, 1), with a gradient to the shape.

    Of a small shape g would be 0: Gamma(a) is Gamma(a + 1) u^(1/a) (Marsaglia & Tsang 2000, §6).
    """
    with torch.no_grad():
        uniform = torch.rand(shape.shape, generator=generator, dtype=shape.dtype)
        # the one function that draws gammas from a generator
        drawn = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
            shape + 1, generator=generator
        ).log()
        y = drawn + uniform.clamp_min(1e-300).log() / shape
    if not torch.is_grad_enabled():
        return y
    return y + slope_to_shape(shape.detach(), y) * (shape - shape.detach())


def slope_to_shape(shape: Tensor, y: Tensor) -> Tensor:
    """∂y/∂a with P(a, eʸ) held where it is: −∂P/∂a / (∂P/∂y).

    ∂P/∂a by a difference of fourth order, of P where it is small and of 1 − P where that is, so
    that neither tail loses digits.
    """
    g, h = y.exp(), STEP * torch.minimum(shape, shape.sqrt())
    weights = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
    below = sum(w * gammainc(shape + k * h, g) for k, w in weights) / h
    above = -sum(w * gammaincc(shape + k * h, g) for k, w in weights) / h
    log_density = shape * y - g - torch.lgamma(shape)  # of y
    slope = -torch.where(g < shape, below, above) * (-log_density).exp()
    return torch.where(y < SMALL, (digamma(shape + 1) - y) / shape, slope)
