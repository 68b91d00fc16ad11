"""Gradients of a bound on log p(x) over q's parameters, by sampling z from q: through z, or through
the score of q.

Each function returns a scalar whose gradient is an unbiased estimate of −∇ bound, and log p(x, z) −
log q(z) of its samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fledge.models.latent.targets import Terms
from fledge.models.latent.variational_families import IndependentNormals, VariationalFamily

LogJoint = Callable[[Tensor], Tensor]


def pathwise_loss(
    q: VariationalFamily, log_joint: LogJoint, samples: int, generator: torch.Generator,
    importance: int = 1,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Reparameterised: z moves with φ (Kingma & Welling 2014, eq. 6).

    With importance K the bound is E log (1/K) Σ_k p(x, z_k) / q(z_k) (Burda, Grosse &
    Salakhutdinov 2016, eq. 8), which rises with K to log p(x).  -> scalar, [samples, K]
    """
    z = q.draw(samples * importance, generator)
    log_ratio = (log_joint(z) - q.log_prob(z)).view(samples, importance)
    return -importance_bound(log_ratio), log_ratio.detach()


def importance_bound(log_ratio: Tensor) -> Tensor:
    """The mean over samples of log (1/K) Σ_k exp(log_ratio).  [S, K] -> scalar"""
    return (log_ratio.logsumexp(1) - math.log(log_ratio.shape[1])).mean()


def score_loss(
    q: VariationalFamily, log_joint: LogJoint, samples: int, generator: torch.Generator,
    baseline: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """E_q[(log p(x, z) − log q(z) − b) ∇ log q(z)] (Ranganath, Gerrish & Blei 2014, eq. 2): needs
    no gradient of log p. The baseline of a sample is the mean of the others'.  -> scalar, [S, 1]
    """
    with torch.no_grad():
        z = q.draw(samples, generator)
        log_p = log_joint(z)
    log_q = q.log_prob(z)
    log_ratio = log_p - log_q.detach()
    weight = take_off_others(log_ratio) if baseline else log_ratio
    return -(weight * log_q).mean(), log_ratio[:, None]


def importance_score_loss(
    q: VariationalFamily, log_joint: LogJoint, samples: int, generator: torch.Generator,
    importance: int, baseline: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The bound of K samples without a gradient of log p: Σ_k (L − b_k − w̃_k) ∇ log q(z_k), with L
    their log-mean weight and w̃ their shares of it. b_k is L with k's own weight replaced by the
    geometric mean of the others (VIMCO; Mnih & Rezende 2016, eqs. 6–10).  -> scalar, [S, K ≥ 2]
    """
    K = importance
    with torch.no_grad():
        z = q.draw(samples * K, generator)
        log_p = log_joint(z)
    log_q = q.log_prob(z)
    log_ratio = (log_p - log_q.detach()).view(samples, K)
    weight = log_ratio.logsumexp(1, keepdim=True) - math.log(K) - log_ratio.softmax(1)
    if baseline:
        others = (log_ratio.sum(1, keepdim=True) - log_ratio) / (K - 1)
        without = torch.where(
            torch.eye(K, dtype=torch.bool), others[:, :, None], log_ratio[:, None, :]
        )  # [S, K, K]: of k the weights with its own replaced
        weight = weight - without.logsumexp(2) + math.log(K)
    return -(weight * log_q.view(samples, K)).sum(1).mean(), log_ratio


def rao_blackwell_loss(
    q: IndependentNormals,
    terms: Callable[[Tensor], Terms],
    samples: int,
    generator: torch.Generator,
    baseline: bool = True,
) -> tuple[Tensor, Tensor]:
    """The score of each coordinate times those terms of log p(x, z) alone that it is in, and its
    own log q: the others have mean 0 there (Ranganath, Gerrish & Blei 2014, eq. 5).
    -> scalar, [S, 1]
    """
    with torch.no_grad():
        z = q.draw(samples, generator)
        made = terms(z)
    log_q = q.log_prob_each(z)  # [S, d]
    own = made.values @ made.touches.double() - log_q.detach()
    weight = take_off_others(own) if baseline else own
    loss = -(weight * log_q).sum(1).mean()
    return loss, (made.values.sum(1) - log_q.detach().sum(1))[:, None]


def take_off_others(value: Tensor) -> Tensor:
    """Each less the mean of all others, which is independent of it.  [S, …] -> the same"""
    S = len(value)
    return (value - value.mean(0)) * (S / (S - 1))
