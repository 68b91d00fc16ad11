"""A model p(x) = ∫ N(z; 0, 1) p(x | z) dz with z of one or two dimensions, integrated on a grid:
what a bound on log p(x) has to be held to.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class IntegratedCode:
    """log_p: log p(x | z) of one picture at every point of the grid, [N]. z: [N, Z]. cell: the
    volume that each point stands for.
    """

    log_p: Tensor
    z: Tensor
    cell: float

    @property
    def log_joint(self) -> Tensor:
        """log p(x, z).  -> [N]"""
        return self.log_p + log_normal(self.z, torch.zeros(self.z.shape[1]), 1.0)

    @property
    def evidence(self) -> float:
        """log p(x)."""
        return float(self.log_joint.logsumexp(0)) + math.log(self.cell)

    def bound(self, mean: Tensor, deviation: Tensor) -> float:
        """E_q[log p(x, z) − log q(z)] of an independent normal q.  mean, deviation: [Z]"""
        log_q = log_normal(self.z, mean, deviation)
        return float((log_q.exp() * (self.log_joint - log_q)).sum()) * self.cell

    def gap(self, mean: Tensor, deviation: Tensor) -> float:
        """KL(q ‖ p(z | x))."""
        log_q = log_normal(self.z, mean, deviation)
        log_posterior = self.log_joint - self.evidence
        return float((log_q.exp() * (log_q - log_posterior)).sum()) * self.cell


def lay_grid(dimensions: int, reach: float = 9.0, points: int = 1001) -> tuple[Tensor, float]:
    """Points of equal distance from −reach to reach in each dimension, in float64.  -> [N, Z], the
    volume of a cell
    """
    line = torch.linspace(-reach, reach, points, dtype=torch.float64)
    step = float(line[1] - line[0])
    grid = torch.cartesian_prod(*[line] * dimensions).view(-1, dimensions)
    return grid, step**dimensions


def log_normal(z: Tensor, mean: Tensor, deviation: Tensor | float) -> Tensor:
    """[N, Z] -> [N]"""
    deviation = torch.as_tensor(deviation, dtype=torch.float64)
    apart = (z - mean.double()) / deviation
    each = -0.5 * apart**2 - deviation.log() - 0.5 * math.log(2 * math.pi)
    return each.expand_as(z).sum(1)


def quadrature(dimensions: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Gauss and Hermite's nodes for the expectation under a standard normal (Abramowitz & Stegun
    1964, 25.4.46).  -> [N, Z], weights [N] that add up to 1
    """
    import numpy as np

    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    line = torch.tensor(x, dtype=torch.float64)
    weight = torch.tensor(w / w.sum(), dtype=torch.float64)
    points = torch.cartesian_prod(*[line] * dimensions).view(-1, dimensions)
    each = [list(t) for t in itertools.product(range(nodes), repeat=dimensions)]
    return points, weight[torch.tensor(each)].prod(1)
