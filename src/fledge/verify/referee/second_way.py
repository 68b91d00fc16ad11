"""The second way by which a row is checked, which knows no equation: finite differences of the
loss that the peer itself returns, or, where that loss is not meant to have the gradient that is
taken (what is detached in it is part of the estimator), samples and an interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from fledge.verify.referee.question import Answer, Hearing, Peer, Step, data_law

WIDTH = 0.05  # of a difference, in logits: peers hold losses in float32
NARROW = 0.01  # the same where a loss has kinks
CLOSE = 1e-3  # relative: differences of a float32 loss agree with its gradient
COMPARED = 2  # steps whose loss is differentiated so
DRAWN = 4000  # samples of a group
SAME_BITS = "same bits"  # of weights after a run that was resumed
ERRORS = 4.0  # standard errors to either side: a false alarm in 16,000 rows


@runtime_checkable
class HasLoss(Protocol):
    def losses(self, step: Step, tables: Sequence[Tensor]) -> list[float]:
        """The loss that the peer returns for the step with each table [P, V] in place of the
        problem's, all that the step holds fixed kept.
        """
        ...


@runtime_checkable
class Speaks(Protocol):
    def draw(self, count: int) -> list[int]:
        """Numbers of sequences as the peer's own generation samples them."""
        ...


@runtime_checkable
class Resumes(Protocol):
    def resume(self) -> str | None:
        """What a run that was killed and resumed is beside one that went through; None where that
        is not tried.
        """
        ...


def tell_apart(before: Tensor, through: Tensor, resumed: Tensor) -> str:
    """Weights at the start of a run and at the ends of two: "same bits", or how far the two lie
    apart beside how far the first has moved. Raises ValueError where that did not move.
    """
    moved = float((through - before).norm())
    if not moved:
        raise ValueError("the run that went through has learned nothing.")
    if torch.equal(through, resumed):
        return SAME_BITS
    return f"{float((through - resumed).norm()) / moved:.1%} apart"


@dataclass(frozen=True)
class SecondWay:
    """What the second way said. by: "differences", "sampling" or "" (none could be taken)."""

    by: str
    apart: float = math.nan  # differences: relative, the worst of the steps
    low: float = math.nan  # sampling: the interval of the scale
    high: float = math.nan
    agrees: bool = True

    def as_json(self) -> dict[str, Any]:
        """What is no number is None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def check_again(
    hearing: Hearing, peer: Peer, steps: Sequence[Step], answers: Sequence[Answer], scale: float,
    true: Tensor, known: Mapping[tuple[int, ...], Tensor],
) -> SecondWay:  # fmt: skip
    """steps, answers: drawn steps and what the peer added in them; scale: the enumerated one beside
    `true` [P·V]; known: what it added for each multiset of words that was enumerated.
    """
    if isinstance(peer, HasLoss) and not hearing.detached:
        return _take_differences(hearing, peer, steps, answers)
    if hearing.family not in ("policy", "likelihood"):
        return SecondWay("")
    return _take_samples(hearing, peer, scale, true, known)


def _take_differences(
    hearing: Hearing, peer: HasLoss, steps: Sequence[Step], answers: Sequence[Answer]
) -> SecondWay:
    problem = hearing.problem
    table = problem.reward if hearing.family == "scores" else problem.logits
    worst, taken = 0.0, 0
    for step, answer in zip(steps, answers, strict=True):
        if taken == COMPARED:
            break
        if not bool(answer.flat.isfinite().all()):
            continue
        taken += 1
        # At a lower temperature the same step in logits is a longer one in probability.
        width = WIDTH * min(1.0, problem.temperature)
        slope = differentiate(lambda tables, step=step: peer.losses(step, tables), table, width)
        size = float(slope.norm())
        apart = float((answer.gradient + slope).norm())
        worst = max(worst, apart / size if size > 1e-12 else (0.0 if apart < 1e-9 else math.inf))
    return SecondWay("differences", apart=worst, agrees=worst < CLOSE) if taken else SecondWay("")


def differentiate(losses: Any, table: Tensor, width: float = WIDTH) -> Tensor:
    """∇ of a function of a table by central differences of fourth order.  -> as the table

    losses: a list of tables in, a list of numbers out.
    """
    tables = []
    for place in range(table.numel()):
        for times in (-2, -1, 1, 2):
            moved = table.clone().flatten()
            moved[place] += times * width
            tables.append(moved.view_as(table))
    values = torch.tensor(losses(tables), dtype=torch.float64).view(-1, 4)
    weight = torch.tensor([1.0, -8.0, 8.0, -1.0], dtype=torch.float64) / (12 * width)
    return (values @ weight).view_as(table)


def _take_samples(
    hearing: Hearing,
    peer: Peer,
    scale: float,
    true: Tensor,
    known: Mapping[tuple[int, ...], Tensor],
) -> SecondWay:
    count = DRAWN * hearing.group
    if isinstance(peer, Speaks):
        words = peer.draw(count)
    else:
        problem = hearing.problem
        law = problem.prob() if hearing.family == "policy" else data_law(problem)
        random = torch.Generator().manual_seed(17)
        words = torch.multinomial(law, count, True, generator=random).tolist()
    along = []
    for at in range(0, count, hearing.group):
        answer = known[tuple(sorted(words[at : at + hearing.group]))]
        finite = bool(answer.isfinite().all())
        along.append(float(answer @ true / true.square().sum()) if finite else 0.0)
    return bound_scale(along, scale)


def bound_scale(along: Sequence[float], scale: float) -> SecondWay:
    """along: of each sample, how far it goes along the true gradient; scale: the enumerated mean of
    that.
    """
    values = torch.tensor(along, dtype=torch.float64)
    middle, error = float(values.mean()), float(values.std() / len(values) ** 0.5)
    low, high = middle - ERRORS * error, middle + ERRORS * error
    return SecondWay("sampling", low=low, high=high, agrees=low <= scale <= high)
