"""GSPO: GRPO with one ratio per completion, the geometric mean of its tokens' ratios (Zheng et al.
2025, eqs. 5–7).

sample: policy, in groups.  score, weigh: as GRPO.  fit: clipped ratio of sequences.
"""

from __future__ import annotations

from torch import Tensor

from fledge.algorithms.policy.grpo import GRPO
from fledge.fit import clipped_ratio
from fledge.weigh import log_ratio


def clipped_sequence_ratio(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, chosen: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """s = (π(y)/π_old(y))^(1/|y|), its value at every token with the gradient of the token's own
    log π (eqs. 13–14, GSPO-token).

    The same gradient as eq. 5 where a row has one advantage, and right where the KL gives each
    token its own.
    """
    length = chosen.sum(1, keepdim=True).clamp(min=1)  # [B, 1]
    mean = log_ratio(logp, old_logp, chosen).detach().sum(1, keepdim=True) / length  # log s, [B, 1]
    return clipped_ratio(mean + logp, logp.detach(), advantage, low, high), mean.exp().expand_as(
        logp
    )


# The clip range of §5.1: a mean over tokens moves far less than any one of them.
GSPO = GRPO.Settings(surrogate=clipped_sequence_ratio, clip_low=3e-4, clip_high=4e-4)
