"""A row of the table that `fledge verify` prints: what is claimed, what was measured, and whether
it holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RowCurves:
    """A picture of how a row's figure came about: lines by name, each as (x, y) with x
    ascending.
    """

    title: str
    unit: str
    x_label: str
    lines: dict[str, tuple[list[float], list[float]]]
    caption: str


@dataclass(frozen=True)
class Noise:
    """What an estimator's row says beside its bias."""

    samples: int  # G, of a group
    # total variance of one update's gradient after scaling, as a multiple of plain REINFORCE's
    variance: float
    # effective sample size of the importance weights, as a share of the samples: 1 on policy
    effective: float


@dataclass(frozen=True)
class TableRow:
    """`holds` says whether the figure is at most `bound`; without a bound there is nothing to
    break.
    """

    id: str
    subject: str
    claim: str
    figure: float
    bound: float | None
    statement: str  # the figure in words
    noise: Noise | None = None
    curves: tuple[RowCurves, ...] = field(default=())

    @property
    def holds(self) -> bool:
        return self.bound is None or self.figure <= self.bound  # NaN holds nothing

    @property
    def on_diagonal(self) -> bool:
        """Whether an estimator came out unbiased as it is."""
        return self.statement.startswith("unbiased") and "scale" not in self.statement

    def as_json(self) -> dict[str, Any]:
        """The six fields of a table that a program reads; a figure that is not finite is null."""
        figure = self.figure if math.isfinite(self.figure) else None
        return {
            "id": self.id,
            "subject": self.subject,
            "claim": self.claim,
            "figure": figure,
            "bound": self.bound,
            "holds": self.holds,
        }
