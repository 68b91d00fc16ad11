"""A mixture's pass over points for a hidden Markov model: densities of every state, and, when the
states have been inferred, what the M-step needs.

The same products as those of a mixture alone (gaussian_chunks.py), in two halves: the messages
along the sequence come between them.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fledge.models.latent.gaussian_chunks import GaussianChunks
from fledge.models.latent.gaussian_mixture import GaussianMixture
from fledge.models.latent.moments import Moments
from fledge.models.latent.natural import write_naturally
from fledge.models.latent.pass_buffers import Buffers

NOTHING = -345.0
"""Log of a share of a density, 10⁻¹⁵⁰, below which it becomes 0: products of less would be no
normal numbers, which processors multiply a hundred times slower.
"""


class EmissionPass(GaussianChunks):
    """Of K · M normals, those of a state side by side."""

    def weigh(
        self, mixture: GaussianMixture, states: int, x: Tensor, out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Writes p(x | state) / exp(top) into `out` [N, K], the largest of a row 1; returns top
        [N]; and, of several normals a state, p(normal | state, x) [N, K · M].
        """
        natural, buffers = write_naturally(mixture, self.coordinates), self._own
        chunk = buffers.share.shape[1]
        share, top = torch.from_numpy(out), torch.empty(len(x), dtype=torch.float64)
        several = mixture.components > states
        part = torch.empty(len(x), mixture.components, dtype=torch.float64) if several else None
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            F = self.fill(x[rows], buffers)
            joint = buffers.share[:, : F.shape[1]]
            self.write_joint(natural, F, joint)
            if part is not None:
                each = joint.view(states, -1, joint.shape[1])
                joint = each.logsumexp(1)
                part[rows] = (each - joint[:, None]).exp_().flatten(0, 1).T
            most = torch.amax(joint, 0)
            top[rows] = most
            torch.threshold_(joint.sub_(most), NOTHING, -torch.inf)
            np.exp(joint.numpy(), out=joint.numpy())  # half of what torch takes
            share[rows] = joint.T
        top += natural.top + self.coordinates.log_det
        return top.numpy(), None if part is None else part.numpy()

    def sum_moments(
        self, mixture: GaussianMixture, x: Tensor, responsibility: np.ndarray
    ) -> Moments:
        """Σ_n r_nk (1, y, y yᵀ).  responsibility: [N, K · M]"""
        natural, buffers, D = write_naturally(mixture, self.coordinates), self._own, self.width
        chunk = buffers.share.shape[1]
        r, sums = torch.from_numpy(responsibility), self.sum_of_nothing(natural)
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            F = self.fill(x[rows], buffers)
            sums.linear += (F @ r[rows]).T  # both as they lie: four times as fast as rᵀ Fᵀ
            z = F[1 : 1 + D]
            if self.kind == "tied":
                sums.total.addmm_(z, z.T)
            for place, k in enumerate(natural.narrow):
                apart = z - natural.mean[k][:, None]
                self.add_about_mean(sums.narrow[place], apart, r[rows][:, k])
        return self.gather(natural, sums)

    @cached_property
    def _own(self) -> Buffers:
        return self.make_buffers(torch.float64)
