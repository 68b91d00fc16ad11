"""Out of a local optimum: two components that answer for the same points become one, and one that
fits its points badly becomes two. Ueda, Nakano, Ghahramani & Hinton 2000, §3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from fledge.models.latent.gaussian_mixture import GaussianMixture

CANDIDATES = 5  # that are tried, the most promising first, before it is given up
MOST_POINTS = 5_000  # by which candidates are ranked


def propose(
    mixture: GaussianMixture, x: Tensor, generator: torch.Generator
) -> Iterator[GaussianMixture]:
    """Mixtures of as many components, each with one pair merged and a third one split; the most
    promising first.  None of fewer than three components.  x: [N, D]
    """
    if mixture.components < 3:
        return
    apart = max(1, len(x) // MOST_POINTS)
    joint = mixture.log_joint(x[::apart])
    r = joint.softmax(1)
    for i, j, k in rank_candidates(mixture, joint, r)[:CANDIDATES]:
        yield rearrange(mixture, i, j, k, generator)


def rank_candidates(
    mixture: GaussianMixture, joint: Tensor, r: Tensor
) -> list[tuple[int, int, int]]:
    """(i, j) to merge by J = r_iᵀ r_j (eq. 16), and k to split by the divergence of its points from
    its density (eqs. 17–18).
    """
    overlap = r.T @ r
    K = len(overlap)
    pairs = [(i, j) for i in range(K) for j in range(i + 1, K)]
    pairs.sort(key=lambda pair: -float(overlap[pair]))
    own = r / r.sum(0).clamp_min(1e-300)  # each component's points as a distribution over points
    density = joint - mixture.weight.clamp_min(1e-300).log()
    misfit = (torch.special.xlogy(own, own) - own * density).sum(0)
    order = misfit.argsort(descending=True).tolist()
    return [(i, j, k) for i, j in pairs for k in order if k not in (i, j)]


def rearrange(
    mixture: GaussianMixture, i: int, j: int, k: int, generator: torch.Generator
) -> GaussianMixture:
    """i becomes what i and j were together, j and k the halves of k (eqs. 19–21)."""
    weight, mean = mixture.weight.clone(), mixture.mean.clone()
    both = weight[i] + weight[j]
    share = torch.stack([weight[i], weight[j]]) / both.clamp_min(1e-300)
    apart = mean[i] - mean[j]
    mean[i] = share[0] * mean[i] + share[1] * mean[j]
    weight[i], weight[j], weight[k] = both, mixture.weight[k] / 2, mixture.weight[k] / 2
    covariance = mixture.covariance.clone()
    if mixture.kind == "tied":
        spread = covariance
    else:
        spread = covariance[k]
        between = share[0] * share[1]
        within = share[0] * covariance[i] + share[1] * covariance[j]
        if mixture.kind == "full":
            covariance[i] = within + between * torch.outer(apart, apart)
        else:
            square = apart.square()
            covariance[i] = within + between * (
                square if mixture.kind == "diagonal" else square.mean()
            )
        covariance[j] = spread
    if mixture.kind == "spherical":
        noise = torch.randn(mixture.width, generator=generator, dtype=mean.dtype)
        step = spread.sqrt() * noise
    else:  # along its longest axis: at random EM would take long to see that the halves differ
        matrix = spread if mixture.has_matrices else torch.diag(spread)
        value, vector = torch.linalg.eigh(matrix)
        step = value[-1].sqrt() * vector[:, -1]
    mean[j], mean[k] = mixture.mean[k] + step, mixture.mean[k] - step
    return replace(mixture, weight=weight, mean=mean, covariance=covariance)
