"""CISPO: every token keeps its gradient, only its importance weight is clipped (MiniMax-M1 2025,
eqs. 4–5).

sample: policy, in groups.  score, weigh: as GRPO.  fit: nll with weight sg(clip(ratio))·advantage.
The mean is over all tokens of the step; eq. 4 divides within each prompt.
"""

from __future__ import annotations

from torch import Tensor

from fledge.algorithms.policy.grpo import GRPO
from fledge.fit import nll
from fledge.weigh import log_ratio


def clipped_weight(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, chosen: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """−sg(clip(ρ, 1−low, 1+high))·Â·log π"""
    ratio = log_ratio(logp, old_logp, chosen).detach().exp()
    return nll(logp, ratio.clamp(1 - low, 1 + high) * advantage), ratio


# No lower bound, as in the paper, which does not print the upper one: 5 here.
CISPO = GRPO.Settings(surrogate=clipped_weight, average="token", clip_low=1.0, clip_high=4.0)
