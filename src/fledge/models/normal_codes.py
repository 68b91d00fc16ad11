"""How far a code's normal posterior is from its standard prior: of pictures and of sentences."""

from __future__ import annotations

from torch import Tensor


def kl_to_standard(mean: Tensor, log_deviation: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each number, in nats (Kingma & Welling 2014, arXiv:1312.6114,
    appendix B).  [B, Z] twice -> [B, Z]
    """
    return 0.5 * (mean**2 + (2 * log_deviation).exp() - 1) - log_deviation
