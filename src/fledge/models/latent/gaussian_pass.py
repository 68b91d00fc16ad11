"""One pass of a mixture of normals over points: responsibilities, and what the M-step needs,
without an [N, K] ever standing in memory.

log N(z; μ, Λ⁻¹) is linear in the monomials 1, z_i, z_i z_j. So the E-step of a chunk is one matrix
product, [K, P] of natural parameters with [P, n] of monomials, and its sums are another, of
responsibilities with the same monomials. Each product of two coordinates stands there once, which
halves the work of the Cholesky form. The points' own mean and covariance are taken out before
(`coordinates`): then no digits are lost, unless a component is narrow and far away; such a one is
computed by its Cholesky factor, about its own mean. Where each point is of few components, only
their pairs are computed in double (screened_pass.py).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_mixture import GaussianMixture, Kind
from fledge.models.latent.moments import Moments
from fledge.models.latent.natural import (
    Natural,
    count_monomials,
    write_naturally,
    write_products,
)
from fledge.models.latent.pass_buffers import Buffers, Sums
from fledge.models.latent.screened_pass import (
    BLOCK,
    PairSums,
    Screen,
    choose_pairs,
    is_sparse,
    sum_pairs,
)

SCREENED_FROM = 8  # components: of fewer a point is of most
CACHE = 2_400_000  # bytes of a chunk's monomials, which both products read
LOST_IN_SINGLE = 1e5  # what LOST is in single precision: 5 of 7 digits, which N points average
# Below it exp gives what is no normal number, and takes ten times as long.
LOWEST = {torch.float64: -700.0, torch.float32: -80.0}
# A sum of densities below it has lost digits, and is taken again from its top.
UNDERFLOW = {torch.float64: 1e-280, torch.float32: 1e-30}


class GaussianPass:
    """Passes over chunks of points of one width by one number of components.

    Each thread takes every so-manieth block with buffers of its own. A product that threads share
    would wait for the slowest of them dozens of times a chunk.
    """

    def __init__(self, kind: Kind, components: int, coordinates: Coordinates) -> None:
        self.kind, self.components, self.coordinates = kind, components, coordinates
        self.width = len(coordinates.centre)
        self.monomials = count_monomials(kind, self.width)
        self.buffers: dict[tuple[int, torch.dtype], Buffers] = {}  # of a thread
        self.screened = kind == "full" and components >= SCREENED_FROM

    def choose_chunk(self, dtype: torch.dtype) -> int:
        """How many points at a time."""
        points = CACHE // dtype.itemsize / self.monomials
        return max(256, min(4096, round(points / 256) * 256))

    def run(
        self,
        mixture: GaussianMixture,
        x: Tensor,
        weight: Tensor | None,
        *,
        log_weight: Tensor | None = None,
        single: bool = False,
    ) -> tuple[Moments, float]:
        """E-step: Σ_n r_nk (1, y, y yᵀ) in the coordinates, and Σ_n w_n log p(x_n) in nats.

        x: [N, D] without missing values. weight: [N] or None. log_weight: of components [K], in
        place of the mixture's own; they need not sum to 1. single: multiply chunks in single
        precision and add them up in double, where no component would lose more than half its
        digits.
        """
        natural = write_naturally(mixture, self.coordinates, log_weight)
        single = single and self.kind != "tied" and natural.lost < LOST_IN_SINGLE
        dtype = torch.float32 if single else torch.float64
        chunk = self.choose_chunk(dtype)
        whole = torch.get_num_threads()
        threads = min(whole, max(1, len(x) // chunk))
        block = BLOCK if self.screened else chunk
        block = -(-len(x) // (threads * max(1, round(len(x) / (threads * block)))))  # all alike
        if threads == 1:
            sums, pairs = self._sum_blocks(natural, x, weight, dtype, block, 0, 1)
        else:
            with ThreadPoolExecutor(threads) as pool:
                parts = [
                    pool.submit(self._sum_alone, natural, x, weight, dtype, block, number, threads)
                    for number in range(threads)
                ]
                sums, pairs = parts[0].result()
                for part in parts[1:]:  # in order: the same bits every time
                    others = part.result()
                    sums.add(others[0])
                    pairs.add(others[1])
            torch.set_num_threads(whole)  # new threads of the process begin with it
        mass = float(len(x)) if weight is None else float(weight.sum())
        density = sums.density + pairs.density
        density += mass * (natural.top + self.coordinates.log_det)
        moments = pairs.as_moments(natural.mean) if sums.points < len(x) else None
        if sums.points:
            dense = self._gather(natural, sums)
            moments = dense if moments is None else dense.mix(moments, 1.0, 1.0)
        assert moments is not None
        return moments, density

    def _sum_alone(self, *given: Any) -> tuple[Sums, PairSums]:
        """In a thread that computes by itself."""
        torch.set_num_threads(1)
        return self._sum_blocks(*given)

    def _sum_blocks(
        self,
        natural: Natural,
        x: Tensor,
        weight: Tensor | None,
        dtype: torch.dtype,
        block: int,
        number: int,
        of: int,
    ) -> tuple[Sums, PairSums]:
        """Of every `of`-th block from block `number` on: of pairs, until a block has too many."""
        D, K, size = self.width, self.components, 1 + self.width if self.kind == "full" else 2
        sums = Sums(
            torch.zeros_like(natural.rows),
            torch.zeros(D, D, dtype=torch.float64),
            torch.zeros(len(natural.narrow), D, size, dtype=torch.float64),
        )
        pairs = PairSums.of_nothing(K, D)
        screen = Screen(natural) if self.screened else None
        natural_here = replace(natural, rows=natural.rows.to(dtype))
        for start in range(number * block, len(x), of * block):
            part = x[start : start + block]
            w = None if weight is None else weight[start : start + block]
            if screen is not None:
                buffers = self.own_buffers(number, torch.float32)
                z = self.coordinates.write_rows(part)
                chosen = choose_pairs(screen, z, buffers.monomials, buffers.share)
                if is_sparse(chosen, dtype == torch.float32):
                    sum_pairs(natural, z, w, chosen, pairs)
                    continue
                screen = None
            self._sum_chunks(natural_here, part, w, self.own_buffers(number, dtype), sums)
        return sums, pairs

    def own_buffers(self, thread: int, dtype: torch.dtype) -> Buffers:
        """The thread's, made when it first needs them."""
        if (thread, dtype) not in self.buffers:
            self.buffers[thread, dtype] = Buffers(
                self.monomials, self.components, self.choose_chunk(dtype), self.width, dtype
            )
        return self.buffers[thread, dtype]

    def _sum_chunks(
        self, natural: Natural, x: Tensor, weight: Tensor | None, buffers: Buffers, sums: Sums
    ) -> None:
        """Adds points up, a chunk at a time."""
        D, dtype = self.width, buffers.monomials.dtype
        chunk = buffers.monomials.shape[1]
        sums.points += len(x)
        for start in range(0, len(x), chunk):
            part = x[start : start + chunk]
            w = None if weight is None else weight[start : start + chunk].to(dtype)
            F = self.fill(part, buffers)
            r, log_p = self.respond(natural, F, buffers)
            if w is not None:
                r.mul_(w)
                log_p.mul_(w)
            sums.density += float(log_p.sum(dtype=torch.float64))
            if dtype == torch.float64:
                sums.linear.addmm_(r, F.T)
            else:
                sums.linear += torch.mm(r, F.T, out=buffers.sums)
            z = F[1 : 1 + D]
            if self.kind == "tied":
                sums.total.addmm_(z if w is None else z * w, z.T)
            for place, k in enumerate(natural.narrow):
                self._add_about_mean(sums.narrow[place], z - natural.mean[k][:, None], r[k])

    def fill(self, part: Tensor, buffers: Buffers) -> Tensor:
        """The monomials of a chunk.  [n, D] -> [P, n], a view of the buffer"""
        F, D = buffers.monomials[:, : len(part)], self.width
        z = F[1 : 1 + D]
        if z.dtype == torch.float64:
            self.coordinates.write(part, z)
        else:
            z.copy_(self.coordinates.write(part, buffers.z[:, : len(part)]))
        if self.kind == "full":
            write_products(F, D)
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
        r.clamp_min_(LOWEST[r.dtype]).exp_()
        total = r.sum(0)
        if float(total.min()) > UNDERFLOW[r.dtype]:
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
