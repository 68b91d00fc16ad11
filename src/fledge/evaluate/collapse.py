"""Whether codes say anything: of posteriors q(z | x) = N(μ, σ²) of N things, how many nats each
unit has, how many units move, and what z knows of x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ACTIVE = 0.01  # a unit whose posterior mean varies by more is active (Burda et al. 2016, §4.1)


@dataclass(frozen=True)
class Codes:
    """kl: of each unit, mean over things, in nats, the largest first. active: units whose mean
    varies. information_low, information_high: between them lies the mutual information of z and
    x, in nats.
    """

    kl: tuple[float, ...]
    active: int
    information_low: float
    information_high: float


def measure_codes(mean: Tensor, log_deviation: Tensor, generator: torch.Generator) -> Codes:
    """[N, Z] twice.

    I_q(x; z) = E_x[KL(q(z | x) ‖ p(z))] − KL(q(z) ‖ p(z)) = E[log q(z | x) − log q(z)] (Hoffman &
    Johnson 2016), one z a thing. q(z) is not known but by N things: with a thing's own posterior
    among them the figure is not more than the truth in expectation, and never more than log N;
    without it not less (Poole et al. 2019, arXiv:1905.06922, eq. 12 and 13).
    """
    mean, log_deviation = mean.double().cpu(), log_deviation.double().cpu()
    kl = (0.5 * (mean**2 + (2 * log_deviation).exp() - 1) - log_deviation).mean(0)
    noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    z = mean + log_deviation.exp() * noise
    N = len(mean)
    log_q = torch.stack(
        [(-0.5 * ((one - mean) / log_deviation.exp()) ** 2 - log_deviation).sum(1) for one in z]
    )  # [N, N]: of z_n under the posterior of m; the constants cancel
    own = log_q.diagonal()
    others = log_q.masked_fill(torch.eye(N, dtype=torch.bool), -math.inf)
    low = own - (log_q.logsumexp(1) - math.log(N))
    high = own - (others.logsumexp(1) - math.log(max(1, N - 1)))
    return Codes(
        tuple(sorted(kl.tolist(), reverse=True)), int((mean.var(0) > ACTIVE).sum()),
        float(low.mean()), float(high.mean()),
    )  # fmt: skip
