"""Figures every on-policy algorithm reports about its samples: above all whether engine and trainer
mean the same policy.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fledge.errors import UserError
from fledge.fit import total
from fledge.learner import Learner
from fledge.trajectories import Trajectories

# mean |log-probability of the trainer − that of the engine| per token, before the first optimizer
# step. Float32 gives 1e-6, bfloat16 matrix products about 0.01: a tenth of a nat is another
# distribution.
DRIFT_BOUND = 0.1


def drift(logp: Tensor, batch: Trajectories, count: Tensor) -> Tensor:
    """The batch's share of the mean distance between the trainer's log-probabilities and the
    engine's.  [B, T] -> []
    """
    if batch.logp is None:
        return logp.new_zeros(())
    return total((logp.detach() - batch.logp).abs(), batch.chosen, count)


def sampled_entropy(logp: Tensor, chosen: Tensor, learner: Learner) -> float:
    """The mean of −log-probability over what was sampled, in nats per token: a consistent estimate
    of the policy's entropy.  [B, T], [B, T]

    A ratio of two sums, nats and tokens: where rows differ in length, few of them estimate it with
    a bias.
    """
    return float(total(-logp, chosen, learner.count(chosen)))


def check_drift(value: float) -> None:
    """Raises UserError when the samples did not come from the policy that is being trained."""
    if not value <= DRIFT_BOUND:
        raise UserError(
            f"sampler and trainer disagree by {value:.3g} nats per token (bound {DRIFT_BOUND}): "
            "the samples are not the policy's. Use precision=fp32, or report this with the run's "
            "config.json."
        )


def drift_is_small(figures: Mapping[str, Tensor]) -> None:
    """`check_drift` on the figures of an optimizer step that has not been made yet, where they hold
    a drift.
    """
    if "drift" in figures:
        check_drift(float(figures["drift"]))
