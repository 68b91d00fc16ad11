"""Batches of nothing, for algorithms that know the whole world and only want to be called again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Iterations:
    """An endless iterator of the numbers 1, 2, …; `place` is the last of them."""

    def __init__(self) -> None:
        self.place = 0
        self.figures: dict[str, float] = {}

    def __next__(self) -> int:
        self.place += 1
        return self.place

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.place = state["place"]
