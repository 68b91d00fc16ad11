"""One pass of a mixture of normals over points: responsibilities, and what the M-step needs,
without an [N, K] ever standing in memory.

log N(z; μ, Λ⁻¹) is linear in the monomials 1, z_i, z_i z_j. So the E-step of a chunk is one matrix
product, [K, P] of natural parameters with [P, n] of monomials, and its sums are another, of
responsibilities with the same monomials. Each product of two coordinates stands there once, which
halves the work of the Cholesky form. The points' own mean and covariance are taken out before
(`coordinates`): then no digits are lost, unless a component is narrow and far away; such a one is
computed by its Cholesky factor, about its own mean.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_mixture import LOG_2PI, GaussianMixture, Kind
from fledge.models.latent.missing_values import complete, each_pattern
from fledge.models.latent.moments import Moments

LOST = 1e6
"""How much larger than 1 the terms of Λ(z − μ)², written out, may be: 6 of 16 digits."""
CACHE = 300_000  # numbers of a chunk's monomials, which both products read: 2.4 MB, for the cache
SMALLEST = 1e-300  # a weight of 0 would make 0 · (−∞) of the entropy
UNDERFLOW = 1e-280  # a sum of densities below it has lost digits, and is taken again from its top


@dataclass(frozen=True)
class Natural:
    """A mixture in the coordinates z, ready for a pass.

    rows: [K, P]. mean: [K, D]. root: Cholesky factors of the precisions [K, D, D], or the
    precisions' roots [K, D]. top: what was taken off every row. constant: log of each component's
    density at its mean, with its weight, less `top` [K].
    """

    rows: Tensor
    mean: Tensor
    root: Tensor
    top: float
    constant: Tensor
    narrow: list[int]


class Buffers:
    """What one thread writes a chunk into: monomials [P, chunk], responsibilities [K, chunk]."""

    def __init__(self, monomials: int, components: int, chunk: int) -> None:
        self.monomials = torch.empty(monomials, chunk, dtype=torch.float64)
        self.monomials[0] = 1
        self.share = torch.empty(components, chunk, dtype=torch.float64)


@dataclass
class Sums:
    """Of some chunks: responsibilities with monomials [K, P]; tied: z zᵀ [D, D]; of each narrow
    component its first and second moment about its mean; Σ w log p(z), less `top`.
    """

    linear: Tensor
    total: Tensor
    narrow: Tensor
    density: float = 0.0

    def add(self, other: Sums) -> None:
        self.linear += other.linear
        self.total += other.total
        self.narrow += other.narrow
        self.density += other.density


class GaussianPass:
    """Passes over chunks of points of one width by one number of components.

    Each thread takes every so-manieth chunk with buffers of its own. A product that threads share
    would wait for the slowest of them dozens of times a chunk.
    """

    def __init__(self, kind: Kind, components: int, coordinates: Coordinates) -> None:
        self.kind, self.components, self.coordinates = kind, components, coordinates
        D = self.width = len(coordinates.centre)
        self.quadratic = {"full": D * (D + 1) // 2, "tied": 0}.get(kind, D)
        self.monomials = 1 + D + self.quadratic
        self.chunk = max(256, min(4096, round(CACHE / self.monomials / 256) * 256))
        self.buffers: list[Buffers] = []

    def prepare(self, mixture: GaussianMixture, log_weight: Tensor | None = None) -> Natural:
        """Natural parameters in the pass's coordinates.  Raises RuntimeError where a covariance is
        not positive definite.

        log_weight: [K], in place of the mixture's own; they need not sum to 1.
        """
        A, D = self.coordinates.matrix, self.width
        mean = (mixture.mean - self.coordinates.centre) @ A.T
        covariance = mixture.expand()
        if mixture.has_matrices:
            lower = torch.linalg.cholesky(A @ covariance @ A.T)
            eye = torch.eye(D, dtype=torch.float64).expand_as(lower)
            root = torch.linalg.solve_triangular(lower, eye, upper=False)  # Λ = rootᵀ root
            precision = root.mT @ root
            log_det = root.diagonal(dim1=1, dim2=2).log().sum(1)
            linear = (precision @ mean[:, :, None])[:, :, 0]
            size = precision.diagonal(dim1=1, dim2=2).sum(1)
        else:
            root = (A.diagonal().square() * covariance).rsqrt()
            precision = root.square()
            log_det, linear, size = root.log().sum(1), precision * mean, precision.amax(1)
        if log_weight is None:
            log_weight = mixture.weight.clamp_min(SMALLEST).log()
        constant = log_weight + log_det - 0.5 * D * LOG_2PI
        top = float(constant.max())
        lost = size * mean.square().sum(1)
        narrow = [] if self.kind == "tied" else (lost > LOST).nonzero().flatten().tolist()
        rows = torch.empty(len(mean), self.monomials, dtype=torch.float64)
        rows[:, 0] = constant - top - 0.5 * (linear * mean).sum(1)
        rows[:, 1 : 1 + D] = linear
        if self.kind == "full":
            i, j = torch.triu_indices(D, D)
            rows[:, 1 + D :] = -precision[:, i, j] * torch.where(i == j, 0.5, 1.0)
        elif self.kind != "tied":
            rows[:, 1 + D :] = -0.5 * precision
        return Natural(rows, mean, root, top, constant - top, narrow)

    def run(
        self,
        mixture: GaussianMixture,
        x: Tensor,
        weight: Tensor | None,
        log_weight: Tensor | None = None,
    ) -> tuple[Moments, float]:
        """E-step: Σ_n r_nk (1, y, y yᵀ) in the coordinates, and Σ_n w_n log p(x_n) in nats.

        x: [N, D] without missing values. weight: [N] or None. log_weight: as `prepare` takes it.
        """
        natural = self.prepare(mixture, log_weight)
        whole = torch.get_num_threads()
        threads = min(whole, max(1, len(x) // self.chunk))
        while len(self.buffers) < threads:
            self.buffers.append(Buffers(self.monomials, self.components, self.chunk))
        if threads == 1:
            sums = self._sum_chunks(natural, x, weight, 0, 1)
        else:
            with ThreadPoolExecutor(threads) as pool:
                parts = [
                    pool.submit(self._sum_alone, natural, x, weight, number, threads)
                    for number in range(threads)
                ]
                sums = parts[0].result()
                for part in parts[1:]:  # in order: the same bits every time
                    sums.add(part.result())
            torch.set_num_threads(whole)  # new threads of the process begin with it
        mass = float(len(x)) if weight is None else float(weight.sum())
        moments = self._gather(natural, sums)
        return moments, sums.density + mass * (natural.top + self.coordinates.log_det)

    def _sum_alone(self, *given: Any) -> Sums:
        """In a thread that computes by itself."""
        torch.set_num_threads(1)
        return self._sum_chunks(*given)

    def _sum_chunks(
        self, natural: Natural, x: Tensor, weight: Tensor | None, number: int, of: int
    ) -> Sums:
        """Of every `of`-th chunk from chunk `number` on."""
        D, size = self.width, 1 + self.width if self.kind == "full" else 2
        sums = Sums(
            torch.zeros_like(natural.rows),
            torch.zeros(D, D, dtype=torch.float64),
            torch.zeros(len(natural.narrow), D, size, dtype=torch.float64),
        )
        buffers = self.buffers[number]
        for start in range(number * self.chunk, len(x), of * self.chunk):
            part = x[start : start + self.chunk]
            w = None if weight is None else weight[start : start + self.chunk]
            F = self.fill(part, buffers)
            r, log_p = self.respond(natural, F, buffers)
            if w is not None:
                r.mul_(w)
                log_p.mul_(w)
            sums.density += float(log_p.sum())
            sums.linear.addmm_(r, F.T)
            z = F[1 : 1 + D]
            if self.kind == "tied":
                sums.total.addmm_(z if w is None else z * w, z.T)
            for place, k in enumerate(natural.narrow):
                self._add_about_mean(sums.narrow[place], z - natural.mean[k][:, None], r[k])
        return sums

    def fill(self, part: Tensor, buffers: Buffers) -> Tensor:
        """The monomials of a chunk.  [n, D] -> [P, n], a view of the buffer"""
        F, D = buffers.monomials[:, : len(part)], self.width
        z = self.coordinates.write(part, F[1 : 1 + D])
        if self.kind == "full":
            start = 1 + D
            for i in range(D):
                torch.mul(z[i:], z[i], out=F[start : start + D - i])
                start += D - i
        elif self.kind != "tied":
            torch.mul(z, z, out=F[1 + D :])
        return F

    def respond(self, natural: Natural, F: Tensor, buffers: Buffers) -> tuple[Tensor, Tensor]:
        """Responsibilities [K, n], a view of the buffer, and log p(z) less `top` [n]."""
        r = buffers.share[:, : F.shape[1]]
        if self.kind == "tied":  # the quadratic form is the same for all: it cancels in r
            common = (natural.root[0] @ F[1 : 1 + self.width]).square().sum(0).mul_(-0.5)
        else:
            common = None
        self._write_joint(natural, F, r)
        if common is not None:
            r += common
        r.exp_()
        total = r.sum(0)
        if float(total.min()) > UNDERFLOW:
            r.mul_(1 / total)
            return r, total.log_()
        self._write_joint(natural, F, r)
        if common is not None:
            r += common
        log_p = r.logsumexp(0)
        r.sub_(log_p).exp_()
        return r, log_p

    def _write_joint(self, natural: Natural, F: Tensor, out: Tensor) -> None:
        torch.mm(natural.rows, F, out=out)
        z = F[1 : 1 + self.width]
        for k in natural.narrow:
            apart, root = z - natural.mean[k][:, None], natural.root[k]
            apart = root @ apart if root.ndim == 2 else root[:, None] * apart
            out[k] = natural.constant[k] - 0.5 * apart.square().sum(0)

    def _add_about_mean(self, sums: Tensor, apart: Tensor, r: Tensor) -> None:
        """The first and second moment of a narrow component about its own mean, [D, 1 + D or 1]."""
        weighed = apart * r
        sums[:, 0] += weighed.sum(1)
        if self.kind == "full":
            sums[:, 1:] += weighed @ apart.T
        else:
            sums[:, 1] += (weighed * apart).sum(1)

    def _gather(self, natural: Natural, all_sums: Sums) -> Moments:
        D, K, sums, own = self.width, self.components, all_sums.linear, all_sums.narrow
        count, first = sums[:, 0].clone(), sums[:, 1 : 1 + D].clone()
        centre = torch.zeros(K, D, dtype=torch.float64)
        # H(q) = Σ log p − Σ_k r_k log p(z, k), which is linear in the sums
        expected = (natural.rows * sums).sum(1)
        if self.kind == "full":
            i, j = torch.triu_indices(D, D)
            second = torch.empty(K, D, D, dtype=torch.float64)
            second[:, i, j] = sums[:, 1 + D :]
            second[:, j, i] = sums[:, 1 + D :]
        elif self.kind == "tied":
            second = all_sums.total
            square = 0.5 * float((natural.root[0].T @ natural.root[0] * second).sum())
            expected = expected - square / K
        else:
            second = sums[:, 1 + D :].clone()
        for number, k in enumerate(natural.narrow):
            centre[k], first[k] = natural.mean[k], own[number][:, 0]
            second[k] = own[number][:, 1:] if self.kind == "full" else own[number][:, 1]
            root = natural.root[k]
            if self.kind == "full":
                square = float((root.T @ root * second[k]).sum())
            else:
                square = float((root.square() * second[k]).sum())
            expected[k] = natural.constant[k] * count[k] - 0.5 * square
        return Moments(count, first, second, centre, all_sums.density - float(expected.sum()))


def fill_missing(
    passes: GaussianPass, mixture: GaussianMixture, x: Tensor, weight: Tensor | None
) -> tuple[Moments, float]:
    """The same sums where values are missing: what is not seen is expected, given what is, under
    each component (Ghahramani & Jordan 1994), exactly, a pattern of missing values at a time.
    """
    A, centre = passes.coordinates.matrix, passes.coordinates.centre
    K, D = mixture.mean.shape
    covariance, matrices = mixture.expand(), mixture.has_matrices
    count, first = torch.zeros(K, dtype=x.dtype), torch.zeros(K, D, dtype=x.dtype)
    second = torch.zeros(K, D, D, dtype=x.dtype) if matrices else torch.zeros_like(first)
    about = (mixture.mean - centre) @ A.T  # each component's own mean: no digits are lost
    density, entropy = 0.0, 0.0
    for rows, seen in each_pattern(x):
        part = x[rows]
        joint = mixture.log_joint(part)
        log_p = joint.logsumexp(1)
        r = (joint - log_p[:, None]).exp()
        w = x.new_ones(len(rows)) if weight is None else weight[rows]
        density += float(log_p @ w)
        entropy -= float((torch.special.xlogy(r, r).sum(1)) @ w)
        for k in range(K):
            own = covariance[k] if matrices else torch.diag(covariance[k])
            filled, spread = complete(part, seen, mixture.mean[k], own)
            y = (filled - mixture.mean[k]) @ A.T
            share = r[:, k] * w
            count[k] += share.sum()
            first[k] += share @ y
            left = share.sum() * (A @ spread @ A.T)
            entropy += float(share.sum()) * normal_entropy(spread, ~seen)
            if matrices:
                second[k] += (y * share[:, None]).T @ y + left
            else:
                second[k] += share @ y.square() + left.diagonal()
    if mixture.kind == "tied":
        return Moments(count, first, second, about, entropy).as_tied(), density
    return Moments(count, first, second, about, entropy), density


def normal_entropy(covariance: Tensor, which: Tensor) -> float:
    """½ log |2πe Σ| of some of the coordinates, in nats.  [D, D], [D] of bool"""
    lost = int(which.sum())
    log_det = float(torch.logdet(covariance[which][:, which])) if lost else 0.0
    return 0.5 * (lost * (1 + LOG_2PI) + log_det)
