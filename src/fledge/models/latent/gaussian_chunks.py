"""Products of a mixture of normals with a chunk of points: responsibilities, and the sums that the
M-step needs, without an [N, K] ever standing in memory.

log N(z; μ, Λ⁻¹) is linear in the monomials 1, z_i, z_i z_j. So the E-step of a chunk is one matrix
product, [K, P] of natural parameters with [P, n] of monomials, and its sums are another, of
responsibilities with the same monomials. Each product of two coordinates stands there once, which
halves the work of the Cholesky form. The points' own mean and covariance are taken out before
(`coordinates`): then no digits are lost, unless a component is narrow and far away; such a one is
computed by its Cholesky factor, about its own mean.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fledge.models.latent.coordinates import Coordinates
from fledge.models.latent.gaussian_mixture import Kind
from fledge.models.latent.moments import Moments
from fledge.models.latent.natural import Natural, count_monomials, write_products
from fledge.models.latent.pass_buffers import Buffers, Sums

CACHE = 2_400_000  # bytes of a chunk's monomials, which both products read
# Below it exp gives what is no normal number, and takes ten times as long.
LOWEST = {torch.float64: -700.0, torch.float32: -80.0}
# A sum of densities below it has lost digits, and is taken again from its top.
UNDERFLOW = {torch.float64: 1e-280, torch.float32: 1e-30}


class GaussianChunks:
    """Of points of one width by one number of components."""

    def __init__(self, kind: Kind, components: int, coordinates: Coordinates) -> None:
        self.kind, self.components, self.coordinates = kind, components, coordinates
        self.width = len(coordinates.centre)
        self.monomials = count_monomials(kind, self.width)

    def choose_size(self, dtype: torch.dtype) -> int:
        """How many points at a time."""
        points = CACHE // dtype.itemsize / self.monomials
        return max(256, min(4096, round(points / 256) * 256))

    def make_buffers(self, dtype: torch.dtype) -> Buffers:
        size = self.choose_size(dtype)
        return Buffers(self.monomials, self.components, size, self.width, dtype)

    def sum_of_nothing(self, natural: Natural) -> Sums:
        D = self.width
        return Sums(
            torch.zeros_like(natural.rows, dtype=torch.float64),
            torch.zeros(D, D, dtype=torch.float64),
            torch.zeros(
                len(natural.narrow), D, 1 + D if self.kind == "full" else 2, dtype=torch.float64
            ),
        )

    def add(
        self, natural: Natural, x: Tensor, weight: Tensor | None, buffers: Buffers, sums: Sums
    ) -> None:
        """Adds points up, a chunk at a time.  natural: of the buffers' precision. x: [n, D]"""
        D, dtype = self.width, buffers.monomials.dtype
        size = buffers.monomials.shape[1]
        sums.points += len(x)
        for start in range(0, len(x), size):
            part = x[start : start + size]
            w = None if weight is None else weight[start : start + size].to(dtype)
            F = self.fill(part, buffers)
            r, log_p = self.respond(natural, F, buffers)
            if w is not None:
                r.mul_(w)
                log_p.mul_(w)
            sums.density += float(log_p.sum(dtype=torch.float64))
            if dtype == torch.float64:
                sums.linear.addmm_(r, F.T)
            else:  # this way round faster by a fifth, in single precision alone
                sums.linear += torch.mm(F, r.T, out=buffers.sums).T
            z = F[1 : 1 + D]
            if self.kind == "tied":
                sums.total.addmm_(z if w is None else z * w, z.T)
            for place, k in enumerate(natural.narrow):
                self.add_about_mean(sums.narrow[place], z - natural.mean[k][:, None], r[k])

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
        self.write_joint(natural, F, r)
        r.clamp_min_(LOWEST[r.dtype])
        np.exp(r.numpy(), out=r.numpy())  # half of what torch takes
        total = r.sum(0)
        if float(total.min()) > UNDERFLOW[r.dtype]:
            r.mul_(1 / total)
            return r, total.log_()
        self.write_joint(natural, F, r)
        log_p = r.logsumexp(0)
        r.sub_(log_p).exp_()
        return r, log_p

    def write_joint(self, natural: Natural, F: Tensor, out: Tensor) -> None:
        """log p(z, k) less `top` of a chunk.  F: [P, n], out: [K, n]"""
        torch.mm(natural.rows, F, out=out)
        z = F[1 : 1 + self.width]
        if self.kind == "tied":  # the quadratic form is the same for all
            out -= 0.5 * (natural.root[0] @ z).square().sum(0)
        for k in natural.narrow:
            apart, root = z - natural.mean[k][:, None], natural.root[k]
            apart = root @ apart if root.ndim == 2 else root[:, None] * apart
            out[k] = natural.constant[k] - 0.5 * apart.square().sum(0)

    def add_about_mean(self, sums: Tensor, apart: Tensor, r: Tensor) -> None:
        """The first and second moment of a narrow component about its own mean, [D, 1 + D or 1]."""
        weighed = apart * r
        sums[:, 0] += weighed.sum(1)
        if self.kind == "full":
            sums[:, 1:] += weighed @ apart.T
        else:
            sums[:, 1] += (weighed * apart).sum(1)

    def gather(self, natural: Natural, all_sums: Sums) -> Moments:
        """The sums of monomials as moments, those of narrow components about their own means."""
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
