"""What an evaluator said of positions, so that it is asked once for each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fledge.plan.search.models import Evaluator
from fledge.worlds.games.game import Numbers

PLACES = 1 << 17  # of positions; a later one takes the place of an earlier
MOST_BYTES = 1 << 26  # where a position is a list of all moves so far, there are fewer places


class EvaluationCache:
    """An `Evaluator` that asks another once for each position, until it forgets: searches from one
    move to the next, and games side by side, come to the same positions.

    What was said is right only as long as the network behind it stays as it was: whoever changes
    it calls `forget`.
    """

    def __init__(self, evaluator: Evaluator, width: int, actions: int) -> None:
        """width: numbers of a position."""
        self.evaluator = evaluator
        bytes_each = 8 * width + 4 * (actions + 1)
        self.places = min(PLACES, 1 << (MOST_BYTES // bytes_each).bit_length() - 1)
        self.position = np.zeros((self.places, width), dtype=np.int64)
        self.said = np.zeros((self.places, actions + 1), dtype=np.float32)
        self.taken = np.zeros(self.places, dtype=bool)
        # Odd numbers without a pattern: places of positions that are alike lie far apart.
        draw = np.random.Generator(np.random.PCG64(0))
        self.scatter = draw.integers(-(2**63), 2**63, width, dtype=np.int64) | 1

    def forget(self) -> None:
        self.taken[:] = False

    def __call__(self, positions: Numbers, legal: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        """[N, W], [N, A] -> [N, A], [N]"""
        mixed = (positions * self.scatter).sum(1)
        place = (mixed ^ (mixed >> 32)) * self.scatter[0] >> 40 & (self.places - 1)
        known = self.taken[place] & (self.position[place] == positions).all(1)
        said = self.said[place]
        if not known.all():
            new = ~known
            chance, value = self.evaluator(positions[new], legal[new])
            said[new, :-1], said[new, -1] = chance, value
            self.position[place[new]], self.said[place[new]] = positions[new], said[new]
            self.taken[place[new]] = True
        return said[:, :-1], said[:, -1]
