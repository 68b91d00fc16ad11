"""How much noise there is at each time of a diffusion, by the logarithm of its signal-to-noise
ratio, and the schedules by which it grows.

z_λ = α x + σ ε with α² = ᾱ = sigmoid(λ), σ² = 1 − ᾱ and λ = log(α² / σ²) (Kingma et al. 2021,
arXiv:2107.00630). A model is told λ and nothing else of the time, so that a chain of T steps,
continuous time and every sampler's grid are one thing. λ = ∞ is the clean picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Shape = Literal["linear", "cosine", "sigmoid", "sigmoid_beta"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
USUAL_STEPS = 1000
LARGEST_BETA = 0.999
NOISIEST, CLEANEST = -12.0, 12.0  # log-SNR, between which continuous time runs
DEVIATIONS = 5.0  # of the noise, from a level to half-way to the next: there the level is certain
COSINE_OFFSET = 0.008


def signal(log_snr: Tensor) -> Tensor:
    """α, of any shape."""
    return log_snr.sigmoid().sqrt()


def noise(log_snr: Tensor) -> Tensor:
    """σ, of any shape."""
    return (-log_snr).sigmoid().sqrt()


def add_noise(x: Tensor, log_snr: Tensor, epsilon: Tensor) -> Tensor:
    """z = α x + σ ε. x, epsilon: [B, …]. log_snr: [B]"""
    each = spread(log_snr, x)
    return signal(each).to(x) * x + noise(each).to(x) * epsilon


def certain_from(levels: int) -> float:
    """λ from which on z leaves no doubt of which of so many levels from −1 to 1 each number is."""
    return 2 * math.log(DEVIATIONS * (levels - 1))


def spread(log_snr: Tensor, x: Tensor) -> Tensor:
    """[B] or [], as [B, 1, …] that goes with x, in float64: near the ends float32 loses σ."""
    return log_snr.double().view(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class Schedule:
    """A shape over `steps` steps; 0 of them is continuous time. cleanest: steps of less noise are
    left out, and continuous time begins there.

    linear: β from 0.0001 to 0.02 (Ho et al. 2020, §4), both times 1000 / T. cosine: Nichol &
    Dhariwal (2021, eq. 17). sigmoid: of ᾱ, from 3 to −3 (Jabri et al. 2022, arXiv:2212.11972,
    algorithm 1). sigmoid_beta: of β, from −6 to 6 (Xu et al. 2022, GeoDiff), which diffusers calls
    sigmoid.
    """

    shape: Shape
    steps: int = USUAL_STEPS
    cleanest: float = CLEANEST

    def levels(self) -> Tensor:
        """λ of the steps, falling.  [T] float64"""
        if self.shape in ("cosine", "sigmoid"):
            kept = self._survives(torch.arange(self.steps + 1, dtype=torch.float64) / self.steps)
            beta = (1 - kept[1:] / kept[:-1]).clamp(max=LARGEST_BETA)
        else:
            beta = self._betas()
        # ᾱ near 1 is 1 − a sum of small numbers: log ᾱ keeps them.
        log_kept = torch.log1p(-beta).cumsum(0)
        log_snr = log_kept - torch.log(-torch.expm1(log_kept))
        return log_snr[log_snr <= self.cleanest]

    def _betas(self) -> Tensor:
        scale = USUAL_STEPS / self.steps
        low, high = 1e-4 * scale, 0.02 * scale
        place = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        if self.shape == "sigmoid_beta":
            place = (12 * place - 6).sigmoid()
        return (low + (high - low) * place).clamp(max=LARGEST_BETA)

    def _survives(self, u: Tensor) -> Tensor:
        """ᾱ(u), of a shape that says it outright; u from 0 to 1."""
        if self.shape == "cosine":
            angle = (u + COSINE_OFFSET) / (1 + COSINE_OFFSET) * (math.pi / 2)
            begun = COSINE_OFFSET / (1 + COSINE_OFFSET) * (math.pi / 2)
            return (angle.cos() / math.cos(begun)) ** 2
        start, end = torch.tensor([3.0, -3.0], dtype=torch.float64).sigmoid()
        return ((3 - 6 * u).sigmoid() - end) / (start - end)

    def at(self, u: Tensor) -> Tensor:
        """λ at continuous times u from 0 (hardly any noise) to 1, within `cleanest` … `NOISIEST`.
        Of β's the limit of many steps: log ᾱ = −∫ T β du (Song et al. 2021, eq. 29).  -> float64
        """
        low, high = self._inner()
        u = low + u.double() * (high - low)
        if self.shape in ("cosine", "sigmoid"):
            kept = self._survives(u)
            return kept.log() - torch.log1p(-kept)
        log_kept = -self._integrate(u)
        return log_kept - torch.log(-torch.expm1(log_kept))

    def _integrate(self, u: Tensor) -> Tensor:
        """∫₀ᵘ T β."""
        low, high = 1e-4 * USUAL_STEPS, 0.02 * USUAL_STEPS
        if self.shape == "linear":
            return low * u + (high - low) * u**2 / 2
        softplus = torch.nn.functional.softplus
        zero = softplus(torch.tensor(-6.0, dtype=torch.float64))
        return low * u + (high - low) * (softplus(12 * u - 6) - zero) / 12

    def _inner(self) -> tuple[float, float]:
        """The times at which λ is `cleanest` and `NOISIEST`, as far as it comes there."""
        whole = Whole(self.shape)
        return whole.find(self.cleanest), whole.find(NOISIEST)


class Whole(Schedule):
    """The same over all of its time, whatever its log-SNR is at the ends."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, 0, math.inf)

    def _inner(self) -> tuple[float, float]:
        return 0.0, 1.0

    def find(self, log_snr: float) -> float:
        """By halving: λ falls with u."""
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            above = float(self.at(torch.tensor(middle, dtype=torch.float64))) > log_snr
            low, high = (middle, high) if above else (low, middle)
        return (low + high) / 2
