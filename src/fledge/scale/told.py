"""Batches that the first rank samples and tells the others: worlds are acted in once, so that one
that draws, or cannot be copied, has one history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledge import ranks


class Told:
    """A sampler of which only the first rank asks for batches. Everything else is the sampler's
    own.
    """

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.figures: dict[str, float] = {}

    def __next__(self) -> Any:
        batch, self.figures = ranks.from_first(lambda: (next(self.sampler), self.sampler.figures))
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sampler, name)

    def state_dict(self) -> dict[str, Any]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if ranks.is_first():
            self.sampler.load_state_dict(state)
