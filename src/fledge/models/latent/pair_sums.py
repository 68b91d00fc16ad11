"""Sums of a mixture of normals over pairs of a point and a component that it may be of, in double
precision: whatever other components say of the point is left out.

Each pair is computed by the component's Cholesky factor about its own mean, so that no digits are
lost. Which pairs these are is said by pair_screens.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fledge.models.latent.moments import Moments
from fledge.models.latent.natural import Natural
from fledge.models.latent.pair_screens import Chosen

PAIRS = 16_384  # that stand in memory at a time: hundreds for each component
WORTH_SORTING = 0.8  # the share of pairs that matter, below which the others are taken out
IN_RANGE = 1e-280, 1e280  # a sum of densities outside has lost digits, and is taken from its top


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


class PairRows:
    """Two arrays with a row for each pair, written into block after block: threads that made and
    freed them each time would hold several times as much.
    """

    def __init__(self, width: int) -> None:
        self.both = torch.empty(2, 0, width, dtype=torch.float64)

    def take(self, pairs: int) -> tuple[Tensor, Tensor]:
        """-> [pairs, D], [pairs, D]"""
        if self.both.shape[1] < pairs:
            self.both = self.both.new_empty(2, pairs + pairs // 8, self.both.shape[2])
        return self.both[0, :pairs], self.both[1, :pairs]


def sum_pairs(
    natural: Natural,
    z: Tensor,
    weight: Tensor | None,
    chosen: Chosen,
    sums: PairSums,
    rows: PairRows,
) -> None:
    """Adds a block's pairs up, about `PAIRS` of them at a time.  z: [n, D]. weight: [n] or None.
    rows: to write into.
    """
    size = max(1, len(z) * PAIRS // max(1, chosen.count))
    for start in range(0, len(z), size):
        part = slice(start, start + size)
        w = None if weight is None else weight[part]
        add_pairs(natural, z[part], w, chosen.take(part), sums, rows)


def add_pairs(
    natural: Natural,
    z: Tensor,
    weight: Tensor | None,
    chosen: Chosen,
    sums: PairSums,
    rows: PairRows,
) -> None:
    """All of them at once, as `sum_pairs` has them."""
    pairs, n = chosen.pairs, len(z)
    counts = np.count_nonzero(pairs, axis=1)
    point = np.flatnonzero(pairs) % n  # in the order of components
    apart, white = rows.take(len(point))
    torch.index_select(z, 0, torch.from_numpy(point), out=apart)
    for k, part in list_parts(counts):
        y = apart[part].sub_(natural.mean[k])
        torch.mm(y, natural.root[k].T, out=white[part])
    joint = np.einsum("pd,pd->p", white.numpy(), white.numpy())
    joint *= -0.5
    joint += np.repeat(natural.constant.numpy(), counts)
    share, log_p = share_out_pairs(joint, point, chosen.near)
    kept = np.flatnonzero(share > chosen.smallest)
    if weight is not None:
        w = weight.numpy()
        share *= w[point]
        log_p *= w
    density = float(log_p.sum())
    sums.density += density
    sums.entropy += density - float(joint @ share)  # −Σ w r log r, of r = exp(joint − log p)
    if len(kept) < WORTH_SORTING * len(share):  # bounds were loose: the rest would be worked for
        torch.index_select(apart, 0, torch.from_numpy(kept), out=white[: len(kept)])
        apart, white, share = white[: len(kept)], apart[: len(kept)], share[kept]
        component = np.repeat(np.arange(len(counts)), counts)[kept]
        counts = np.bincount(component, minlength=len(counts))
    add_moments(apart, share, counts, sums, white)


def add_moments(
    apart: Tensor, share: np.ndarray, counts: np.ndarray, sums: PairSums, weighed: Tensor
) -> None:
    """apart: z − μ_k of every pair [pairs, D], those of a component side by side. share: [pairs].
    counts: pairs of each component [K]. weighed: to write into, as large as apart.
    """
    torch.mul(apart, torch.from_numpy(share)[:, None], out=weighed)
    some = np.flatnonzero(counts)
    place, starts = torch.from_numpy(some), (counts.cumsum() - counts)[some]
    sums.count.index_add_(0, place, torch.from_numpy(np.add.reduceat(share, starts)))
    sums.first.index_add_(0, place, torch.from_numpy(np.add.reduceat(weighed.numpy(), starts)))
    for k, part in list_parts(counts):
        sums.second[k].addmm_(weighed[part].T, apart[part])


def list_parts(counts: np.ndarray) -> list[tuple[int, slice]]:
    """The components that have pairs, and which pairs these are."""
    ends = counts.cumsum()
    begins = ends - counts
    return [(k, slice(begins[k], ends[k])) for k in np.flatnonzero(counts).tolist()]


def share_out_pairs(
    joint: np.ndarray, point: np.ndarray, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Responsibilities, and log p of every point; each point has a pair.

    joint, point: of every pair log p(z, k), and whose it is. near: of every point what its largest
    is, about.  -> as many as joint, as many as near
    """
    for top in (near, None):
        if top is None:
            top = np.full(len(near), -np.inf)
            np.maximum.at(top, point, joint)
        with np.errstate(over="ignore", invalid="ignore"):
            share = np.exp(joint - top[point])
            total = np.bincount(point, share, len(near))
        if IN_RANGE[0] < total.min() and total.max() < IN_RANGE[1]:
            break
    share *= (1 / total)[point]
    return share, top + np.log(total)
