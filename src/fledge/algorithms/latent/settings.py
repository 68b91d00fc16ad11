"""What every model with something unseen can be told: when it has converged; and of a mixture, how
many components it has and where it begins.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from fledge.algorithms.settings import AlgorithmSettings
from fledge.errors import UserError
from fledge.rows.points import Points

_RANGE = re.compile(r"(\d+)\s*(?:\.\.|:|-)\s*(\d+)")
MOST_COMPONENTS = 65_536


def _as_text(given: Any) -> Any:
    """From Python also 8, or range(2, 11)."""
    if isinstance(given, range) and len(given) and given.step == 1:
        return f"{given[0]}..{given[-1]}"
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _check_order(given: str) -> str:
    ends = _RANGE.fullmatch(given.strip())
    low, high = ends.groups() if ends else (given.strip(), given.strip())
    if not (low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high)):
        raise ValueError("give a number of components, such as 8, or several, such as 2..10")
    if int(high) > MOST_COMPONENTS:
        raise ValueError(f"{MOST_COMPONENTS:,} components are the most")
    return low if low == high else f"{low}..{high}"


Components = Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_order)]


class LatentSettings(AlgorithmSettings):
    """Of an algorithm that raises a bound until it stands."""

    tolerance: float = Field(
        default=1e-5,
        ge=0,
        description="ends when a step raises the bound by less, in nats a point",
    )

    @property
    def in_blocks(self) -> bool:
        """Whether a step takes a block of the points, not all of them."""
        return False

    def check_points(self, points: Points) -> None:
        """Raises UserError for points that it cannot be fitted to."""


class MixtureSettings(LatentSettings):
    """Of a mixture."""

    k: Components = Field(
        default="3",
        description="components; several as 2..10: BIC chooses, beside the held-out likelihood",
    )
    starts: int = Field(
        default=4, ge=1, le=10_000, description="k-means++ starts, of which the best goes on"
    )

    @property
    def every_k(self) -> list[int]:
        ends = [int(end) for end in self.k.split("..")]
        return list(range(ends[0], ends[-1] + 1))

    @property
    def smallest_k(self) -> int:
        return self.every_k[0]

    def check_points(self, points: Points) -> None:
        most = self.every_k[-1]
        if most > len(points):
            raise UserError(
                f"k={most} and {len(points)} point{'s' * (len(points) > 1)} to learn from in "
                f"{points.source}: give k={len(points)} or less, or more points."
            )
