"""TRPO: the policy takes a step of its own, without AdamW, as far along the natural gradient as its
KL from the old policy may be.

sample: policy.  score: reward.  weigh: GAE, whitened.  fit: maximise E[π/π_old·Â] with
E[KL(π_old‖π)] ≤ δ; the critic by regression. Schulman et al. 2015, "Trust Region Policy
Optimization", eq. 14; the step's length and the line search are appendix C's.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field
from torch import Tensor

from fledge.algorithms.parts.fisher_vector_product import FisherVectorProduct
from fledge.algorithms.policy.natural_gradient import StepSettings


@dataclass(frozen=True)
class TrustRegion:
    """As far as ½ sᵀFs = `kl_limit` by the quadratic model, then back by `shrink` at a time until
    KL and gain say yes.

    Where none of `attempts` lengths does, the policy is left as it was, bit for bit.
    """

    kl_limit: float = 0.01  # δ, nats per step
    attempts: int = 10
    shrink: float = 0.8

    def __call__(
        self, near: FisherVectorProduct, direction: Tensor, damping: float
    ) -> dict[str, float]:
        """policy_gain, policy_kl: of the step that was taken. step_share: of the whole step, 0
        where none was taken.
        """
        curvature = direction @ near.product(direction, damping)  # 0 where there is nothing to gain
        if curvature > 0:
            whole = direction * (2 * self.kl_limit / curvature).sqrt()
            for attempt in range(self.attempts):
                share = self.shrink**attempt
                near.move(share * whole)
                gain, kl = near.measure()
                if kl <= self.kl_limit and gain > 0:
                    return {"policy_gain": gain, "policy_kl": kl, "step_share": share}
            near.move_back()
        return {"policy_gain": 0.0, "policy_kl": 0.0, "step_share": 0.0}


class Settings(StepSettings):
    """Of TRPO."""

    update_kl: float = Field(
        default=0.01, gt=0, description="δ: nats a step between new and old policy, at most"
    )

    def step(self) -> TrustRegion:
        return TrustRegion(self.update_kl)


TRPO = Settings()
