"""When training has diverged: a loss, a gradient or weights that are no finite numbers."""

from __future__ import annotations

import math

from fledge.errors import Diverged

ADVICE = "The last checkpoint is intact; try a lower `learning_rate`."


def check_gradient(loss: float, norm: float, step: int) -> None:
    """Before step `step` is made. Raises Diverged."""
    if not math.isfinite(norm) or not math.isfinite(loss):
        raise Diverged(
            f"the loss is {loss:.4g} and its gradient {norm:.4g} at optimizer step {step}: "
            f"training cannot go on from here. {ADVICE}"
        )


def check_norm(norm: float, steps: int) -> None:
    """Of the weights, after so many steps. Raises Diverged."""
    if not math.isfinite(norm):
        raise Diverged(
            f"the weights overflow after optimizer step {steps}: training cannot go on from here. "
            f"{ADVICE}"
        )


def check_share(loss: float, rate: float, step: int) -> None:
    """Of the weights that step `step` has made. Raises Diverged."""
    if not math.isfinite(loss):
        raise Diverged(
            f"optimizer step {step}, at a learning rate of {rate:.4g}, made weights under which "
            f"the loss is {loss:.4g}: training cannot go on from here. {ADVICE}"
        )
