"""An evaluator that says which positions it was asked about."""

from __future__ import annotations

from typing import Any

from tests.plan.search.plain_search import Opinions


class Counting:
    """Which positions were asked about; `shift` is added to what is said of their value."""

    def __init__(self, game: Any) -> None:
        self.opinions, self.asked, self.shift = Opinions(game), list[bytes](), 0.0

    def __call__(self, positions: Any, legal: Any) -> Any:
        self.asked += [row.tobytes() for row in positions]
        chance, value = self.opinions(positions, legal)
        return chance, value + self.shift
