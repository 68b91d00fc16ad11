"""Why copying the expert is not enough: on a road with a ditch beside it, the cost of cloning grows
as T²·ε and that of DAgger as T·ε.

Ross & Bagnell 2010, theorem 2.1: a policy that errs with probability ε where the expert goes pays
up to T²·ε more than the expert. Ross, Gordon & Bagnell 2011, theorem 2.2: one that errs with
probability ε where it goes itself, and can be set right again at a cost of 1, pays T·ε.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fledge.verify.rows import RowCurves, TableRow


def cost(on_road: float, in_ditch: float, longest: int) -> Tensor:
    """Expected number of steps that end in the ditch, in walks of 1…N steps that begin on the road.
    -> [N] float64

    on_road, in_ditch: how likely the walker errs there. On the road an error leads into the ditch;
    in the ditch whoever does the right thing climbs out, and an error stays. The expert never errs
    and pays 0.
    """
    away, total, costs = 0.0, 0.0, []  # away: the probability of being in the ditch
    for _ in range(longest):
        away = (1 - away) * on_road + away * in_ditch
        total += away
        costs.append(total)
    return torch.tensor(costs, dtype=torch.float64)


def cloning_cost(error: float, longest: int) -> Tensor:
    """Of a walker that errs with probability `error` where the expert goes, and in the ditch, which
    no expert ever showed it, always.

    T − (1 − ε)(1 − (1 − ε)^T)/ε, which is ½T(T + 1)ε to first order.  -> [N]
    """
    return cost(error, 1.0, longest)


def dagger_cost(error: float, longest: int) -> Tensor:
    """Of a walker that errs with probability `error` wherever it goes, having been told there what
    is right: T·ε.  -> [N]
    """
    return cost(error, error, longest)


def growth(costs: Tensor, shortest: int) -> float:
    """The slope of log cost over log T, by least squares over walks of `shortest`…N steps: the
    exponent with which it grows.  [N] -> number
    """
    steps = torch.arange(shortest, len(costs) + 1, dtype=torch.float64).log()
    away, log_cost = steps - steps.mean(), costs[shortest - 1 :].log()
    return float((away * log_cost).sum() / away.square().sum())


def imitation_rows(error: float = 1e-5, longest: int = 300) -> list[TableRow]:
    """R12: both exponents, and both theorems' bounds, for walks of up to N steps."""
    steps = torch.arange(1, longest + 1, dtype=torch.float64)
    cloned, told = cloning_cost(error, longest), dagger_cost(error, longest)
    squared, straight = growth(cloned, longest // 10), growth(told, longest // 10)
    over = (
        max(float((cloned / (steps.square() * error)).max()), float((told / (steps * error)).max()))
        - 1
    )
    lines = {
        "cloning": (steps.tolist(), cloned.tolist()),
        "DAgger": (steps.tolist(), told.tolist()),
    }
    curve = RowCurves(
        f"steps in the ditch, ε = {error:g}", "steps", "length of the walk", lines,
        "Cloning knows nothing of the ditch: an early error is paid for until the end.",
    )  # fmt: skip
    return [
        TableRow(
            "R12.1", "behavioural cloning on the road", "cost grows as T² (closed form)",
            abs(squared - 2), 0.02,
            f"exponent {squared:.3f} for walks of {longest // 10} to {longest} steps",
            curves=(curve,),
        ),
        TableRow(
            "R12.2", "DAgger on the road", "cost grows as T (closed form)", abs(straight - 1), 1e-6,
            f"exponent {straight:.6f} for walks of {longest // 10} to {longest} steps",
        ),
        TableRow(
            "R12.3", "the bounds T²·ε and T·ε", "no walk costs more (closed form)",
            max(over, 0.0), 1e-9,
            f"the largest cost is {1 + over:.2f} of its bound",
        ),
    ]  # fmt: skip
