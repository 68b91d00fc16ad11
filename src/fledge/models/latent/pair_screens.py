"""Which components of a mixture of normals a point may be of: bounds on each component's density,
in single precision, with how much they may err.

Of 64 components in 32 dimensions a point has a share above 10⁻¹³ in one or two. `MetricScreen`
measures distances to all means in one metric: between the least and the largest eigenvalue of a
component's precision in that metric lies its quadratic form (Rayleigh's quotient), for a tenth of
the work. Where the components' shapes differ too much for that, `MonomialScreen` computes every
quadratic form.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fledge.models.latent.natural import Natural, write_products

# Nats below a point's largest joint density: shares of 10⁻¹³ are left out; beside sums in single
# precision, which err by 10⁻⁷, those of 10⁻⁷.
LEAST = {torch.float64: 30.0, torch.float32: 16.0}
ROUNDING = 16 * torch.finfo(torch.float32).eps
"""Of a sum of monomials in single precision, as a share of its terms' absolute values: four
hundred of them in order err by √400 half-units where they do by chance.
"""
CHUNK = 2_048  # points, of which monomials and bounds are held at a time
PROBE = 1_024  # points by which it is judged whether pairs, and which screen, are worth their while
PAIR = 5.0
"""What a pair costs, in units of what a component's products with a point cost in double precision,
both of D² multiplications and more: pairs are gathered, and their products are small.
"""


@dataclass(frozen=True)
class Chosen:
    """pairs: which components each point may be of [K, n] of bool. near: of every point what its
    largest joint density is, about, in nats [n]. smallest: a share that may be left out.
    """

    pairs: np.ndarray
    near: np.ndarray
    smallest: float

    @classmethod
    def of_none(cls, components: int, points: int, least: float) -> Chosen:
        """To be written into. least: nats below the largest."""
        pairs = np.empty((components, points), dtype=bool)
        return cls(pairs, np.empty(points), math.exp(-least))

    def write(self, start: int, pairs: np.ndarray, near: np.ndarray) -> None:
        """Of some points, from number `start` on."""
        part = slice(start, start + len(near))
        self.pairs[:, part], self.near[part] = pairs, near

    def take(self, part: slice) -> Chosen:
        """Of some points."""
        return Chosen(self.pairs[:, part], self.near[part], self.smallest)

    @property
    def count(self) -> int:
        """How many pairs."""
        return int(np.count_nonzero(self.pairs))

    def cost(self, screen: Screen) -> float:
        """Of a pass that goes on with these pairs, a point and a component; products of all in
        double precision cost 1.
        """
        return screen.cost + PAIR * self.count / self.pairs.size


class Rounding:
    """How much single precision may err in a bound, as a share of the absolute values of its terms:
    of a component at most size_k (|z| · stretch + length_k)² and its constant.

    size, length, constant: of each component [K].
    """

    def __init__(self, size: Tensor, length: Tensor, constant: Tensor, stretch: float) -> None:
        self.size, self.length, self.constant = size, length, constant.abs()
        self.stretch = stretch

    def bound(self, distance: Tensor) -> Tensor:
        """In nats, of each component, for points so far from the middle.  [n] -> [K, n]"""
        reach = self.stretch * distance + self.length[:, None]
        return ROUNDING * (self.size[:, None] * reach.square() + self.constant[:, None])

    def keep(
        self, above: Tensor, below: Tensor, distance: Tensor, least: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which components may be within `least` nats of a point's best, and what that best is,
        about.  above, below: bounds but for their rounding [K, n]. distance: |z| [n].
        """
        near = below.amax(0)
        error = float(self.bound(distance.max()[None]).max())
        if error > 1:  # each its own, where one of them errs much
            each = self.bound(distance)
            threshold = (below - each).amax(0) - least
            above = above + each
        else:
            threshold = near - (least + 2 * error)
        under = np.less(above.numpy(), threshold.numpy())
        return np.logical_not(under, out=under), near.numpy()  # what is no number is kept too


class Screen(ABC):
    """Bounds on log p(z, k), and how much they may err."""

    cost: ClassVar[float]  # a point and a component; products of all in double precision cost 1
    rounding: Rounding

    @abstractmethod
    def bound(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """From above and from below, but for rounding.  [n, D] -> [K, n], [K, n]"""

    def choose(self, z: Tensor, least: float) -> Chosen:
        """Which components have a joint density of at most `least` nats below the largest.
        z: [n, D]
        """
        chosen = Chosen.of_none(len(self.rounding.size), len(z), least)
        for start in range(0, len(z), CHUNK):
            part = z[start : start + CHUNK]
            distance = torch.linalg.vector_norm(part, dim=1)
            chosen.write(start, *self.rounding.keep(*self.bound(part), distance, least))
        return chosen


class MetricScreen(Screen):
    """The metric is the mean of the components' precisions, each made of determinant 1."""

    cost = 0.05

    def __init__(self, natural: Natural) -> None:
        root, D = natural.root, natural.mean.shape[1]
        scale = root.diagonal(dim1=1, dim2=2).log().mean(1).exp()
        shape = root / scale[:, None, None]
        lower, failed = torch.linalg.cholesky_ex((shape.mT @ shape).mean(0))
        if failed:  # shapes that no metric suits: that of the coordinates will do
            lower = torch.eye(D, dtype=root.dtype)
        own = torch.linalg.solve_triangular(lower, root.mT, upper=False)  # in that metric
        each = torch.linalg.eigvalsh(own @ own.mT)
        rounding = D * torch.finfo(each.dtype).eps * each[:, -1]
        mean = natural.mean @ lower
        square = mean.square().sum(1)
        bounds = []
        for size in ((each[:, 0] - rounding).clamp_min(0), each[:, -1] + rounding):
            first = natural.constant - 0.5 * size * square
            bounds.append(torch.column_stack([first, -0.5 * size, size[:, None] * mean]))
        self.rows = torch.cat(bounds).float()  # [2 K, 2 + D]: from above, then from below
        self.metric, self.components = lower.T.float().contiguous(), len(root)
        # the coordinates in that metric err too, by no more than both terms again
        self.rounding = Rounding(
            1.5 * each[:, -1], square.sqrt(), natural.constant, float(lower.norm())
        )

    def bound(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """From above and from below.  [n, D] -> [K, n], [K, n]"""
        F = torch.ones(self.rows.shape[1], len(z))
        u = torch.mm(self.metric, z.T.float(), out=F[2:])
        torch.sum(u.square(), 0, out=F[1])
        both = self.rows @ F
        return both[: self.components], both[self.components :]


class MonomialScreen(Screen):
    """By the products that a pass makes, in single precision. A term of a component's quadratic
    form is at most ½ tr Λ (|z| + |μ|)², all of them together.
    """

    cost = 0.25

    def __init__(self, natural: Natural) -> None:
        self.rows = natural.rows.float()
        self.rounding = Rounding(
            0.5 * natural.root.square().sum((1, 2)),
            natural.mean.square().sum(1).sqrt(),
            natural.constant,
            1.0,
        )

    def bound(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The quadratic form itself, both times.  [n, D] -> [K, n], [K, n]"""
        D = z.shape[1]
        F = torch.ones(self.rows.shape[1], len(z))
        F[1 : 1 + D] = z.T
        write_products(F, D)
        joint = self.rows @ F
        return joint, joint


def choose_screen(natural: Natural, z: Tensor, least: float, dense: float) -> Screen | None:
    """The one by which these points cost least; None: all products are cheaper.

    dense: what those cost, a point and a component: 1 in double precision.
    """
    costs: list[tuple[float, int, Screen]] = []
    for number, kind in enumerate((MetricScreen, MonomialScreen)):
        screen = kind(natural)
        costs.append((screen.choose(z, least).cost(screen), number, screen))
    cost, _, best = min(costs)
    return best if cost < dense else None
