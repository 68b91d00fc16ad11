"""Losses per step [B, T], and `total`, the one reduction. Pure tensors in, pure tensors out;
nothing here averages.

Every function returns what is to be minimised, unmasked: `total` applies the mask, because the
denominator must be counted over the whole optimizer step before it is cut into micro-batches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def total(loss: Tensor, mask: Tensor, count: Tensor | float) -> Tensor:
    """Σ loss over the mask, divided by `count`: the number of trained steps of the whole optimizer
    step.  [B, T] -> []

    What stands in `loss` off the mask (garbage, inf, NaN) is replaced before it is summed, so that
    it reaches neither value nor gradient. What `loss` was made of must be replaced before that: in
    the gradient of w·log π a masked w = NaN is 0·NaN.
    """
    return torch.where(mask, loss, 0.0).sum() / count


def nll(logp: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """−w·log π(a_t|s_t).  With w = 1 this is maximum likelihood; with w = advantage, the policy
    gradient.  [B, T] -> [B, T]
    """
    return -weight * logp


def clipped_ratio(
    logp: Tensor,
    behaviour_logp: Tensor,
    advantage: Tensor,
    low: float = 0.2,
    high: float = 0.2,
    bound: float = 20.0,
) -> Tensor:
    """−min(ρ·Â, clip(ρ, 1−low, 1+high)·Â), ρ = π/π_behaviour (Schulman et al. 2017, eq. 7).  [B, T]
    -> [B, T]

    log ρ is held within ±bound, so that ρ stays finite. Past +bound the gradient of Â < 0 ends,
    where eq. 7 goes on pulling.
    """
    ratio = (logp - behaviour_logp).clamp(-bound, bound).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def value_error(
    value: Tensor, target: Tensor, old_value: Tensor | None = None, clip: float | None = None
) -> Tensor:
    """½(V − R̂)²; with `clip`, the larger of that and the error of V held within ±clip of its old
    value.  [B, T] -> [B, T]

    The clipped form is the one of the PPO2 reference code, described in Huang et al. 2022, "The 37
    implementation details of PPO", detail 9.
    """
    error = (value - target) ** 2
    if clip is not None:
        if old_value is None:
            raise ValueError("`clip` was given without `old_value`: there is nothing to stay near.")
        held = old_value + (value - old_value).clamp(-clip, clip)
        error = torch.maximum(error, (held - target) ** 2)
    return 0.5 * error


def pairwise_logistic(preferred: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """−log σ(r_w − r_l − margin): Bradley–Terry (Ouyang et al. 2022, eq. 1; margin: Touvron et al.
    2023, eq. 2).  [B] -> [B]
    """
    return -F.logsigmoid(preferred - rejected - margin)


# The three estimators of KL(π‖π_ref) per step, for actions sampled from π (Schulman 2020,
# http://joschu.net/blog/kl-approx.html). As figures they estimate the same number; as losses they
# have different gradients, and only one is the KL's own.


def kl_k1(logp: Tensor, reference_logp: Tensor) -> Tensor:
    """log π/π_ref: unbiased, may be negative.  [B, T] -> [B, T]

    For rewards and figures. As a loss its expected gradient is E[∇log π] = 0: it would train
    nothing.
    """
    return logp - reference_logp


def kl_k2(logp: Tensor, reference_logp: Tensor) -> Tensor:
    """½(log π/π_ref)²: biased as a figure, but its expected gradient E[log(π/π_ref)·∇log π] is that
    of KL(π‖π_ref).

    Exactly so for a single decision; for whole sequences when logp is the sequence's sum. Per token
    it leaves out how an early token changes the KL of later ones: for that, put k1 in the reward.
    [B, T] -> [B, T]
    """
    return 0.5 * (logp - reference_logp) ** 2


def kl_k3(logp: Tensor, reference_logp: Tensor) -> Tensor:
    """π_ref/π − 1 − log π_ref/π: unbiased and never negative as a figure.  [B, T] -> [B, T]

    As a loss its expected gradient is that of KL(π_ref‖π), the other direction: −E_ref[∇log π].
    π_ref/π is held below e^20: only actions that much rarer than under the reference, which are
    hardly ever sampled, count for less.
    """
    log_ratio = reference_logp - logp
    return log_ratio.clamp(max=20.0).exp() - 1 - log_ratio
