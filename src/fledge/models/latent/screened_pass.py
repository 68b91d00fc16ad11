"""One pass of a mixture of normals over a block of points of which each is of few components: these
are sought in single precision, and computed in double.

Of 64 components in 32 dimensions a point has a share above 10⁻¹³ in one or two. Single precision
tells which, with a bound on how much it errs; only those pairs of a point and a component are
computed, by the component's Cholesky factor about its own mean. Whatever is left out of a density
is its thirteenth digit, or less.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from fledge.models.latent.moments import Moments
from fledge.models.latent.natural import Natural, write_products

LEAST = 30.0  # nats below a point's largest joint density: shares of 10⁻¹³ are left out
ROUNDING = 16 * torch.finfo(torch.float32).eps
"""Of a sum of monomials in single precision, as a share of its terms' absolute values: four
hundred of them in order err by √400 half-units where they do by chance.
"""
BLOCK = 16_384  # points whose pairs are worked on together: hundreds for each component
MOST_PAIRS = 0.1  # a point, as a share of the components: of more, their own products are faster


@dataclass
class PairSums:
    """Of the pairs of some points: r, r y and r y yᵀ with y = z − μ_k; −Σ w r log r; Σ w log p(z),
    less `top`.

    count: [K]. first: [K, D]. second: [K, D, D].
    """

    count: Tensor
    first: Tensor
    second: Tensor
    entropy: float = 0.0
    density: float = 0.0

    @classmethod
    def of_nothing(cls, components: int, width: int) -> PairSums:
        shapes = (components,), (components, width), (components, width, width)
        count, first, second = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
        return cls(count, first, second)

    def add(self, other: PairSums) -> None:
        self.count += other.count
        self.first += other.first
        self.second += other.second
        self.entropy += other.entropy
        self.density += other.density

    def as_moments(self, mean: Tensor) -> Moments:
        """mean: [K, D], that the sums are about."""
        return Moments(self.count, self.first, self.second, mean, self.entropy)


class Screen:
    """Of a mixture: what single precision needs, and how much it may err.

    A term of a component's quadratic form is at most ½ tr Λ (|z| + |μ|)², all of them together.
    """

    def __init__(self, natural: Natural) -> None:
        self.natural = natural
        self.rows = natural.rows.float()
        self.trace = natural.root.square().sum((1, 2))
        self.length = natural.mean.square().sum(1).sqrt()

    def bound_errors(self, distance: Tensor) -> Tensor:
        """In nats, of each component, for points so far from the middle.  [n] -> [K, n]"""
        terms = 0.5 * self.trace[:, None] * (distance + self.length[:, None]).square()
        return ROUNDING * (terms + self.natural.constant.abs()[:, None])


def choose_pairs(screen: Screen, z: Tensor, monomials: Tensor, joint: Tensor) -> np.ndarray:
    """Which components each point may be of.  z: [n, D]; monomials: [P, chunk] and joint:
    [K, chunk], single precision, are written into.  -> [K, n] of bool
    """
    chosen = np.empty((len(screen.rows), len(z)), dtype=bool)
    distance = z.square().sum(1).sqrt()
    chunk = monomials.shape[1]
    for start in range(0, len(z), chunk):
        part = slice(start, min(start + chunk, len(z)))
        n = part.stop - start
        F, J = monomials[:, :n], joint[:, :n]
        F[1 : 1 + z.shape[1]] = z[part].T
        write_products(F, z.shape[1])
        torch.mm(screen.rows, F, out=J)
        error = float(screen.bound_errors(distance[part].max()[None]).max())
        if error > 1:  # each its own, where one of them errs much
            each = screen.bound_errors(distance[part])
            least = ((J - each).amax(0) - LEAST).float()
            J += each
        else:
            least = J.amax(0) - LEAST - 2 * error
        np.less(J.numpy(), least.numpy(), out=chosen[:, part])
    return np.logical_not(chosen, out=chosen)  # what is no number is computed too


def is_sparse(chosen: np.ndarray, single: bool) -> bool:
    """Whether pairs alone are faster than every component's own products, which in single precision
    take half the time.
    """
    most = MOST_PAIRS * (0.5 if single else 1.0) * chosen.size
    return int(np.count_nonzero(chosen)) <= most


def sum_pairs(
    natural: Natural, z: Tensor, weight: Tensor | None, chosen: np.ndarray, sums: PairSums
) -> None:
    """Adds a block's pairs up.  z: [n, D]. weight: [n] or None. chosen: [K, n] of bool"""
    n = chosen.shape[1]
    ends = np.count_nonzero(chosen, axis=1).cumsum().tolist()
    own = [(k, slice(*ends)) for k, ends in enumerate(pairwise([0, *ends]))]
    own = [(k, part) for k, part in own if part.stop > part.start]
    point = np.flatnonzero(chosen) % n  # in the order of components
    place = torch.from_numpy(point)
    apart = z.index_select(0, place)  # [pairs, D]
    white, joint = torch.empty_like(apart), z.new_empty(len(apart))
    for k, part in own:
        y = apart[part].sub_(natural.mean[k])
        torch.mm(y, natural.root[k].T, out=white[part])
        joint[part] = natural.constant[k]
    joint -= white.square_().sum(1).mul_(0.5)
    top = z.new_full((n,), -torch.inf).scatter_reduce_(0, place, joint, "amax")
    share = (joint - top[place]).exp_()
    total = torch.from_numpy(np.bincount(point, share.numpy(), n))
    share /= total[place]
    log_p = top + total.log()
    log_share = joint.sub_(log_p[place])
    if weight is not None:
        share *= weight[place]
        log_p *= weight
    sums.density += float(log_p.sum())
    sums.entropy -= float(log_share @ share)
    weighed = torch.mul(apart, share[:, None], out=white)
    for k, part in own:
        sums.count[k] += share[part].sum()
        sums.first[k] += weighed[part].sum(0)
        sums.second[k].addmm_(weighed[part].T, apart[part])
